"""What rounded weights cost in precision: logits on real code against float32, beside bfloat16.

Two kinds of rows: causal ones, as prefill and verification compute them, and masks that draft a
block behind each window, with the draft adapter. The weights that are made for a GPU are measured
by their values: its kernels add them up in another order, and round nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F

from engine.config import Weights
from engine.decoding.blocks import block_view
from engine.decoding.forward import Forward, row, run_forward
from engine.device import choose_device
from engine.errors import EngineError
from engine.models.decoder import Decoder
from engine.models.load import load_model
from engine.models.storage import rounded_storage
from engine.quantised.rounding import Kind
from engine.tokenizer import CodeTokenizer
from engine.weights.resolve import resolve_model

_BLOCK = 8
_CHUNK = 64
# Modules of the standard library, from all over it.
_MODULES = "argparse ast bdb calendar cmd csv dis enum ftplib gzip heapq inspect mailbox".split()


@dataclass(slots=True)
class Tally:
    """Sums over the rows compared so far."""

    num_rows: int = 0
    nll: float = 0.0
    kl: float = 0.0
    num_agreeing: int = 0

    def add(self, reference: torch.Tensor, found: torch.Tensor, targets: Sequence[int]) -> None:
        """Logits fp32 (N, vocab_size) of the same rows, and the tokens that really follow (or
        none of them)."""
        p, q = (F.log_softmax(each.double(), dim=-1) for each in (reference, found))
        self.num_rows += len(p)
        self.kl += float((p.exp() * (p - q)).sum())
        self.num_agreeing += int((p.argmax(dim=-1) == q.argmax(dim=-1)).sum())
        if targets:
            self.nll -= float(q[torch.arange(len(targets)), list(targets)].sum())


@dataclass(slots=True)
class Tallies:
    causal: Tally = field(default_factory=Tally)
    drafts: Tally = field(default_factory=Tally)


@dataclass(frozen=True, slots=True)
class _Variant:
    """rounding: to weights that are made for a GPU."""

    dtype: str
    weights: Weights = "full"
    rounding: Kind | None = None


_REFERENCE = _Variant("float32")
_VARIANTS: dict[str, _Variant] = {
    "bfloat16": _Variant("bfloat16"),
    "int8 (CPU)": _Variant("auto", weights="int8"),
    "int8 (GPU)": _Variant("bfloat16", rounding="int8"),
    "int4": _Variant("bfloat16", rounding="int4"),
    "fp8": _Variant("bfloat16", rounding="fp8"),
}
VARIANTS = tuple(_VARIANTS)

# Logits of a window: of its tokens, and of the masks behind it.
_Logits = tuple[torch.Tensor, torch.Tensor]


def quality_table(
    model: str, num_windows: int, num_tokens: int, names: Sequence[str] = VARIANTS
) -> str:
    """A Markdown table for `num_windows` windows of `num_tokens` tokens, a row for each of `names`
    of VARIANTS. float32's logits are kept meanwhile, 0.6 MB a token with the default model's
    vocabulary; the models are loaded one after the other. Raises EngineError."""
    for name in names:
        if name not in _VARIANTS:
            raise EngineError(f"Weights {name!r} are not known here: use {', '.join(VARIANTS)}.")
    folder = resolve_model(model, offline=True, report=lambda phase, fraction: None)
    tokenizer = CodeTokenizer(folder / "tokenizer.json")
    windows = list(_windows(tokenizer, num_windows, num_tokens))
    expected = list(_all_logits(folder, model, _REFERENCE, windows))
    tallies = {"float32": _compared(windows, expected, expected)}
    for name in names:
        found = _all_logits(folder, model, _VARIANTS[name], windows)
        tallies[name] = _compared(windows, expected, found)
    return _table(tallies)


def _all_logits(
    folder: Path, model: str, variant: _Variant, windows: Sequence[list[int]]
) -> Iterator[_Logits]:
    choice = choose_device("cpu", variant.dtype, None, variant.weights)
    torch.set_num_threads(choice.num_threads)
    storage = None if variant.rounding is None else rounded_storage(choice, variant.rounding)
    decoder = load_model(folder, choice, model_name=model, storage=storage).decoder
    with torch.inference_mode():
        for window in windows:
            yield _logits(decoder, window)


def _compared(
    windows: Sequence[list[int]], expected: Iterable[_Logits], found: Iterable[_Logits]
) -> Tallies:
    tallies = Tallies()
    for window, (causal, drafts), (found_causal, found_drafts) in zip(
        windows, expected, found, strict=True
    ):
        tallies.causal.add(causal[:-1], found_causal[:-1], window[1:])
        tallies.drafts.add(drafts, found_drafts, [])
    return tallies


def _windows(tokenizer: CodeTokenizer, number: int, num_tokens: int) -> Iterator[list[int]]:
    folder = os.path.dirname(os.__file__)
    found = 0
    for module in _MODULES:
        with open(os.path.join(folder, f"{module}.py"), encoding="utf-8") as file:
            ids = tokenizer.encode(file.read())
        for start in (0, len(ids) // 2):
            if found < number and start + num_tokens <= len(ids):
                found += 1
                yield ids[start : start + num_tokens]


def _logits(decoder: Decoder, window: list[int]) -> _Logits:
    """Of all tokens of `window`, and of the masks of a block that begins with its last token."""
    cache, parts = decoder.new_cache(), []
    for start in range(0, len(window), _CHUNK):
        chunk = window[start : start + _CHUNK]
        forward = Forward("prefill", row(chunk, decoder.device), "causal")
        parts.append(run_forward(forward, decoder, cache).logits(slice(None)))
        cache.commit(chunk)
    cache.crop(len(window) - 1)
    block = row([window[-1], *[decoder.config.mask_token_id] * (_BLOCK - 1)], decoder.device)
    view = block_view(block[0], decoder.config)
    drafted = run_forward(Forward("draft", block, view, draft_adapter=True), decoder, cache)
    return torch.cat(parts), drafted.logits(slice(1, None))


def _table(tallies: dict[str, Tallies]) -> str:
    lines = [
        "| weights | nll | KL to float32 | same best token | KL of drafts | same best draft |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, each in tallies.items():
        causal, drafts = each.causal, each.drafts
        cells = [
            name,
            f"{causal.nll / causal.num_rows:.4f}",
            f"{causal.kl / causal.num_rows:.5f}",
            f"{causal.num_agreeing / causal.num_rows:.4f}",
            f"{drafts.kl / drafts.num_rows:.5f}",
            f"{drafts.num_agreeing / drafts.num_rows:.4f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
