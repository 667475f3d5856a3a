"""What int8 costs in precision: logits on real code against float32, beside bfloat16.

Two kinds of rows: causal ones, as prefill and verification compute them, and masks that draft a
block behind each window, with the draft adapter.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

from engine.decoding.blocks import block_view
from engine.decoding.forward import Forward, row, run_forward
from engine.device import Weights, choose_device
from engine.models.decoder import Decoder
from engine.models.load import load_model
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


_VARIANTS: dict[str, tuple[str, Weights]] = {
    "float32": ("float32", "full"),
    "bfloat16": ("bfloat16", "full"),
    "int8": ("auto", "int8"),
}


def quality_table(model: str, num_windows: int, num_tokens: int) -> str:
    """A Markdown table for `num_windows` windows of `num_tokens` tokens. Raises EngineError."""
    folder = resolve_model(model, offline=True, report=lambda phase, fraction: None)
    tokenizer = CodeTokenizer(folder / "tokenizer.json")
    decoders = {}
    for name, (dtype, weights) in _VARIANTS.items():
        choice = choose_device("cpu", dtype, None, weights)
        torch.set_num_threads(choice.num_threads)
        decoders[name] = load_model(folder, choice, model_name=model).decoder
    tallies = {name: Tallies() for name in decoders}
    with torch.inference_mode():
        for window in _windows(tokenizer, num_windows, num_tokens):
            results = {name: _logits(decoder, window) for name, decoder in decoders.items()}
            causal, drafts = results["float32"]
            for name, (found_causal, found_drafts) in results.items():
                tallies[name].causal.add(causal[:-1], found_causal[:-1], window[1:])
                tallies[name].drafts.add(drafts, found_drafts, [])
    return _table(tallies)


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


def _logits(decoder: Decoder, window: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
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
