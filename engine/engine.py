"""Engine: one loaded model and everything that answers a CompletionRequest with it.

Not thread-safe by design: one thread owns it (engine.server.engine_thread, or the command line).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from engine.adapters import built_in_gate
from engine.config import EngineConfig
from engine.decoding.loop import Limits, Meter
from engine.device import DeviceChoice, choose_device
from engine.errors import EngineError
from engine.infill.answer import Answer, Candidate, Tools
from engine.infill.gate import NEVER, Gate
from engine.infill.hole import Hole
from engine.infill.prompt import PromptBuilder
from engine.infill.route import choose_route
from engine.messages.completion import Choice, Completion, CompletionRequest, Facts
from engine.models.decoder import Decoder
from engine.models.load import LoadedModel, load_model
from engine.prefix_cache import PrefixCache
from engine.tokenizer import CodeTokenizer
from engine.weights.resolve import resolve_model

Report = Callable[[str, float | None], None]

# About 100 ms of work on a laptop CPU, 10 ms on a data-centre GPU.
_PREFILL_CHUNK_TOKENS = {"cpu": 64, "cuda": 512}


def _no_report(phase: str, fraction: float | None) -> None:
    """For callers that show no progress."""


@dataclass(frozen=True, slots=True)
class LineEnds:
    """The engine works with ``\\n``; answers get the line ends of the document back."""

    newline: str

    @classmethod
    def of(cls, text: str) -> LineEnds:
        return cls("\r\n" if "\r\n" in text else "\n")

    def restore(self, text: str) -> str:
        if self.newline == "\n":
            return text
        return text.replace("\r\n", "\n").replace("\n", self.newline)


class Engine:
    """Built by `load`. num_forwards grows by one for each model pass, for tests and metrics."""

    def __init__(
        self,
        config: EngineConfig,
        choice: DeviceChoice,
        loaded: LoadedModel,
        tokenizer: CodeTokenizer,
        folder: Path,
        gate: Gate = NEVER,
    ) -> None:
        self.config, self.choice, self.tokenizer, self.folder = config, choice, tokenizer, folder
        self.decoder, self.notes = loaded.decoder, loaded.notes
        self.draft_adapter, self.causal_adapter = loaded.draft_adapter, loaded.causal_adapter
        self.num_forwards = 0
        self.prefix_cache = PrefixCache(
            self.decoder.new_cache, config.max_cache_bytes or _default_cache_bytes(self)
        )
        self.prompts = PromptBuilder(
            tokenizer,
            self.decoder.config,
            max_prefix_tokens=config.max_prefix_tokens,
            max_suffix_tokens=config.max_suffix_tokens,
        )
        self.tools = Tools(
            self.decoder,
            tokenizer,
            _forbidden_ids(self.decoder, tokenizer),
            tokenizer.newline_tokens(),
            config.prefill_chunk_tokens or _PREFILL_CHUNK_TOKENS[choice.device.type],
            self.count_forward,
            gate,
        )

    @classmethod
    def load(cls, config: EngineConfig, report: Report = _no_report) -> Engine:
        """Find, check and load the model. Raises EngineError, WeightsError or ConfigError."""
        choice = choose_device(config.device, config.dtype, config.num_threads)
        if choice.device.type == "cpu":
            torch.set_num_threads(choice.num_threads)
        folder = resolve_model(config.model, offline=config.offline, report=report)
        tokenizer = CodeTokenizer(folder / "tokenizer.json")
        loaded = load_model(
            folder,
            choice,
            draft_adapter=config.draft_adapter,
            causal_adapter=config.causal_adapter,
            model_name=config.model,
            report=report,
        )
        if tokenizer.num_ids > loaded.decoder.config.vocab_size:
            raise EngineError(
                f"{folder / 'tokenizer.json'} has ids up to {tokenizer.num_ids - 1}, but the model "
                f"has only {loaded.decoder.config.vocab_size} vocabulary rows: they do not belong "
                "together."
            )
        return cls(config, choice, loaded, tokenizer, folder, _gate_for(config, loaded))

    def describe(self) -> dict[str, Any]:
        """Facts for `nemodiff engine status`: plain JSON values, no document text."""
        c = self.decoder.config
        return {
            "model": self.config.model,
            "family": c.family,
            "num_layers": c.num_layers,
            "hidden_size": c.hidden_size,
            "device": str(self.choice.device),
            "dtype": str(self.choice.dtype).removeprefix("torch."),
            "num_threads": self.choice.num_threads,
            "reasons": list(self.choice.reasons),
            "notes": list(self.notes),
            "alignment": c.alignment,
            "adapter_scope": c.adapter_scope,
            "draft_adapter": self.draft_adapter,
            "causal_adapter": self.causal_adapter,
            "gate": self.tools.gate.describe(),
            "max_prefix_tokens": self.config.max_prefix_tokens,
            "max_suffix_tokens": self.config.max_suffix_tokens,
        }

    def complete(
        self,
        request: CompletionRequest,
        *,
        is_cancelled: Callable[[], bool] = lambda: False,
        arrived_s: float | None = None,
        emit: Callable[[int, str], None] = lambda index, text: None,
    ) -> Completion:
        """Answer one request. `arrived_s` is time.monotonic() at its arrival; `emit` gets the
        index of a choice and new text of it, in order, as soon as the text is certain."""
        started = time.monotonic()
        arrived = started if arrived_s is None else arrived_s
        whole = request.prompt[-4096:] + request.suffix[:4096]
        line_ends = LineEnds.of(whole)
        hole = Hole(request.prompt.replace("\r\n", "\n"), request.suffix.replace("\r\n", "\n"))
        request = replace(request, stop=tuple(s.replace("\r\n", "\n") for s in request.stop))
        route = choose_route(
            request.mode,
            hole,
            self.decoder.config,
            has_draft_adapter=self.decoder.has_draft_adapter,
            has_causal_adapter=self.causal_adapter is not None,
        )
        prompt = self.prompts.build(hole, route, request.document)
        built = time.monotonic()
        limits = Limits(
            is_cancelled,
            None if request.deadline_ms is None else arrived + request.deadline_ms / 1e3,
        )
        cache = self.prefix_cache.take(request.document, prompt.context)
        meter = Meter()
        answer = Answer(self.tools, request, hole, route, prompt, cache, meter, limits)
        num_cached_tokens = cache.length
        try:
            candidates = answer.candidates(lambda i, text: emit(i, line_ends.restore(text)))
        finally:
            self.prefix_cache.give_back(request.document, cache)
        timings_ms = {
            "queue": (started - arrived) * 1e3,
            "prompt": (built - started) * 1e3,
            "prefill": meter.prefill_ms,
            "decode": meter.decode_ms,
            "total": (time.monotonic() - arrived) * 1e3,
        }
        return self._completion(
            request, answer, candidates, line_ends, num_cached_tokens, timings_ms
        )

    def count_forward(self) -> None:
        self.num_forwards += 1

    def _completion(
        self,
        request: CompletionRequest,
        answer: Answer,
        candidates: list[Candidate],
        line_ends: LineEnds,
        num_cached_tokens: int,
        timings_ms: dict[str, float],
    ) -> Completion:
        num_tokens = sum(candidate.num_tokens for candidate in candidates)
        best, speculation = candidates[0], answer.speculation
        facts = Facts(
            mode=answer.route.mode,
            route=answer.route.name,
            route_reason=answer.route.reason,
            forwards=answer.meter.num_forwards,
            prefill_forwards=answer.meter.num_prefill,
            tokens=num_tokens,
            score=best.score,
            num_near_ties=sum(candidate.num_near_ties for candidate in candidates),
            cached_tokens=num_cached_tokens,
            timings_ms={name: round(value, 2) for name, value in timings_ms.items()},
            num_cycles=speculation.num_cycles,
            num_drafted_tokens=speculation.num_drafted_tokens,
            num_accepted_tokens=speculation.num_accepted_tokens,
            gated=best.is_withheld,
            gate_features=best.gate_features,
        )
        return Completion(
            id=f"cmpl-{uuid.uuid4().hex}",
            created=int(time.time()),
            model=self.config.model,
            choices=tuple(
                Choice(index, line_ends.restore(candidate.text), candidate.finish_reason)
                for index, candidate in enumerate(candidates)
            ),
            prompt_tokens=len(answer.prompt.context),
            completion_tokens=num_tokens,
            facts=facts,
        )


def _gate_for(config: EngineConfig, loaded: LoadedModel) -> Gate:
    """The gate that was calibrated with the model's own causal adapter, where that is in use."""
    path = built_in_gate(config.model)
    is_own = loaded.causal_adapter == f"built-in:{config.model}/causal"
    return Gate.read(path) if path is not None and is_own else NEVER


def _default_cache_bytes(engine: Engine) -> int:
    """Room for four full windows, at least 256 MiB."""
    c = engine.decoder.config
    window_tokens = engine.config.max_prefix_tokens + engine.config.max_suffix_tokens
    bytes_per_token = 2 * c.num_layers * c.num_kv_heads * c.head_dim * engine.decoder.dtype.itemsize
    return max(256 * 2**20, 4 * window_tokens * bytes_per_token)


def _forbidden_ids(decoder: Decoder, tokenizer: CodeTokenizer) -> torch.Tensor:
    """bool (vocab_size,): the mask id, and every id that neither spells text nor ends it."""
    c = decoder.config
    allowed = [i for i in range(c.vocab_size) if tokenizer.token_bytes(i)]
    forbidden = torch.ones(c.vocab_size, dtype=torch.bool, device=decoder.device)
    forbidden[allowed] = False
    forbidden[list(c.eos_token_ids)] = False
    forbidden[c.mask_token_id] = True
    return forbidden
