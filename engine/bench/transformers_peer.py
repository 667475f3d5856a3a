"""The peer `transformers`: the publisher's own implementation, eager torch, with a DynamicCache."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import torch

from engine.bench.costs import num_parameters
from engine.bench.peers import PeerMissing, Sampler
from engine.bench.shapes import check_memory
from engine.bench.subject import Subject, drawn_tokens
from engine.bench.timing import Sample
from engine.errors import EngineError
from engine.models.config import ModelConfig

NAME = "transformers eager"


class TransformersPeer:
    """The same weights where they are stored (without adapters, which cost nothing once merged),
    the same shape with random weights else. Raises PeerMissing."""

    name = NAME

    def __init__(self, subject: Subject) -> None:
        try:
            self._library: Any = importlib.import_module("transformers")
        except ImportError:
            raise PeerMissing("left out: transformers is not installed.") from None
        self._device, self._timed = subject.device, subject.timed
        self._tokens = drawn_tokens(subject.decoder, 40_000)
        self._config = subject.decoder.config
        self._caches: dict[int, Any] = {}
        self._known: tuple[int, Any] | None = None
        try:
            self._library.logging.set_verbosity_error()
            self._library.utils.logging.disable_progress_bar()
            self._model = self._load(subject)
        except (AttributeError, ImportError, OSError, RuntimeError, ValueError) as error:
            kind = type(error).__name__
            raise PeerMissing(f"left out: it does not load this model ({kind}).") from None

    def forward(self, block: int, cached: int) -> Sampler:
        ids = self._ids(self._tokens[:block])
        cache = self._cache(cached)

        def sample(number: int) -> Sample:
            found = self._timed(lambda: self._pass(ids, cache).argmax(-1))
            cache.crop(-block)
            return found

        return sample

    def prefill(self, length: int) -> Sampler:
        ids = self._ids(self._tokens[:length])
        return lambda number: self._timed(
            lambda: self._pass(ids, self._library.DynamicCache(), 1).argmax(-1)
        )

    def completion(
        self, prompts: Sequence[Sequence[int]], counts: Sequence[int], *, is_warm: bool
    ) -> Sampler:
        def sample(number: int) -> Sample:
            at = number % len(prompts)
            prompt = list(prompts[at])
            cache = self._warm(at, prompt) if is_warm else self._library.DynamicCache()
            new = prompt[-1:] if is_warm else prompt
            found = self._timed(lambda: self._generate(new, cache, counts[at]))
            if is_warm:
                cache.crop(-counts[at])
            return found

        return sample

    def close(self) -> None:
        del self._model
        self._caches.clear()
        self._known = None

    def _load(self, subject: Subject) -> Any:
        auto, dtype = self._library.AutoModelForCausalLM, subject.decoder.dtype
        size = num_parameters(self._config) * dtype.itemsize
        try:
            check_memory("The same model in transformers", size, self._device)
        except EngineError as refusal:
            raise PeerMissing(f"left out: {refusal}") from None
        if subject.engine is not None:
            if self._config.family != "qwen2":
                raise PeerMissing("left out: transformers has no class for this model.")
            model = auto.from_pretrained(subject.engine.folder, dtype=dtype, local_files_only=True)
            return model.to(self._device).eval()
        with torch.device("meta"):
            model = auto.from_config(self._shape(self._config), dtype=dtype)
        return _drawn(model.to_empty(device=self._device)).eval()

    def _shape(self, c: ModelConfig) -> Any:
        """A plain Llama or Qwen2 of the same shape; Nemotron's blocks are Llama's."""
        fields = {
            "vocab_size": c.vocab_size,
            "hidden_size": c.hidden_size,
            "intermediate_size": c.intermediate_size,
            "num_hidden_layers": c.num_layers,
            "num_attention_heads": c.num_heads,
            "num_key_value_heads": c.num_kv_heads,
            "head_dim": c.head_dim,
            "max_position_embeddings": c.max_positions,
            "tie_word_embeddings": c.tied_head,
        }
        is_qwen = c.family == "qwen2"
        name = "Qwen2Config" if is_qwen else "LlamaConfig"
        if is_qwen:
            del fields["head_dim"]
        return getattr(self._library, name)(**fields)

    def _ids(self, tokens: Sequence[int]) -> torch.Tensor:
        return torch.tensor([list(tokens)], device=self._device)

    @torch.inference_mode()
    def _pass(self, ids: torch.Tensor, cache: Any, num_logits: int = 0) -> torch.Tensor:
        """Logits (1, T or num_logits, vocab)."""
        out = self._model(
            ids, past_key_values=cache, use_cache=True, logits_to_keep=num_logits
        ).logits
        assert isinstance(out, torch.Tensor)
        return out

    def _generate(self, tokens: Sequence[int], cache: Any, count: int) -> None:
        for _ in range(count):
            ids = self._ids(tokens)
            tokens = [int(self._pass(ids, cache, 1)[0, -1].argmax())]

    @torch.inference_mode()
    def _cache(self, length: int) -> Any:
        """Drawn keys and values of `length` tokens."""
        if length not in self._caches:
            c, cache = self._config, self._library.DynamicCache()
            shape = (1, c.num_kv_heads, length, c.head_dim)
            dtype = next(self._model.parameters()).dtype
            for layer in range(c.num_layers if length else 0):
                keys, values = (torch.randn(shape, device=self._device).to(dtype) for _ in "kv")
                cache.update(keys, values, layer)
            self._caches[length] = cache
        return self._caches[length]

    def _warm(self, at: int, prompt: list[int]) -> Any:
        """The cache of prompt number `at` without its last token; only the newest is kept."""
        if self._known is None or self._known[0] != at:
            cache = self._library.DynamicCache()
            self._pass(self._ids(prompt[:-1]), cache, 1)
            self._known = (at, cache)
        return self._known[1]


@torch.no_grad()
def _drawn(model: Any) -> Any:
    for tensor in model.parameters():
        tensor.normal_(std=0.02)
    for tensor in model.buffers():
        # Frequencies of positions; any finite numbers will do beside random weights.
        tensor.fill_(0.01)
    return model
