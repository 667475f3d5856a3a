"""Case forward: one model pass with its head, as the decoding modes ask for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import torch

from engine.bench.costs import Pass, Work
from engine.bench.peers import Peer
from engine.bench.rounds import Variant
from engine.bench.subject import Subject, drawn_tokens
from engine.bench.table import Line
from engine.decoding.blocks import block_view, num_draft_rows, predicting_row
from engine.decoding.forward import Forward
from engine.decoding.shared_pass import shared_offsets, shared_view
from engine.models.attention import causal_mask
from engine.models.config import ModelConfig

PassMode = Literal["verify", "draft", "shared"]
PASS_MODES: tuple[PassMode, ...] = ("verify", "draft", "shared")


@dataclass(frozen=True, slots=True)
class Point:
    """mode: ``verify``, causal over `block` tokens; ``draft``, a seed and masks with the draft
    adapter; ``shared``, quad_spec's pass of `block` rows, half of them visible, masks behind each.
    rows: sequences over one prefix of `cached` tokens."""

    mode: PassMode
    block: int
    rows: int
    cached: int

    @property
    def name(self) -> str:
        return f"{self.mode} block {self.block} rows {self.rows} cached {self.cached}"


@dataclass(frozen=True, slots=True)
class Grid:
    """is_full: every combination; else one dimension at a time is varied from the first of
    `blocks`, of `rows` and of `cached`, and every mode goes with every block."""

    modes: Sequence[PassMode]
    blocks: Sequence[int]
    rows: Sequence[int]
    cached: Sequence[int]
    is_full: bool = False

    def points(self, config: ModelConfig) -> list[Point]:
        """In order, each once; a block of one token drafts nothing, and what is cached ends where
        the model's positions do."""
        if self.is_full:
            asked = list(product(self.modes, self.blocks, self.rows, self.cached))
        else:
            mode, block, rows, cached = self.modes[0], self.blocks[0], self.rows[0], self.cached[0]
            asked = [(each, size, rows, cached) for each, size in product(self.modes, self.blocks)]
            asked += [(mode, block, number, cached) for number in self.rows]
            asked += [(mode, block, rows, length) for length in self.cached]
        points = [
            Point(mode, block, rows, max(0, min(cached, config.max_positions - block)))
            for mode, block, rows, cached in asked
            if mode == "verify" or block > 1
        ]
        return list(dict.fromkeys(points))


@dataclass(frozen=True, slots=True)
class _Laid:
    """One pass, ready to be run: `head` are the rows of each sequence that the head runs on."""

    ids: torch.Tensor
    visible: torch.Tensor | None
    offsets: torch.Tensor | None
    draft_adapter: bool
    head: slice
    cost: Pass


def forward_lines(
    subjects: Sequence[Subject], peers: Sequence[Peer], grid: Grid
) -> list[tuple[Line, Variant]]:
    """Every point on every path, and on every peer that has it."""
    made: list[tuple[Line, Variant]] = []
    points = grid.points(subjects[0].decoder.config)
    for point, subject in product(points, subjects):
        laid = _lay_out(subject, point)
        line = Line(
            f"{subject.path}: {point.name}",
            _keys(point, subject.path),
            group=point.name,
            work=subject.work(laid.cost),
            rate=subject.storage.rate,
        )
        made.append((line, _variant(line.name, subject, laid, point.cached)))
    for point, peer in product(points, peers):
        sample = peer.forward(point.block, point.cached) if _is_plain(point) else None
        if sample is not None:
            name = f"{peer.name}: {point.name}"
            line = Line(name, _keys(point, peer.name), group=point.name, is_peer=True)
            made.append((line, Variant(name, sample, warm_calls=1)))
    return made


def _is_plain(point: Point) -> bool:
    """A causal pass over one sequence is all that others know."""
    return point.mode == "verify" and point.rows == 1


def _keys(point: Point, path: str) -> dict[str, Any]:
    return {
        "path": path,
        "mode": point.mode,
        "block": point.block,
        "rows": point.rows,
        "cached": point.cached,
    }


def _variant(name: str, subject: Subject, laid: _Laid, cached: int) -> Variant:
    run = _runner(subject, laid, cached)
    return Variant(name, lambda number: subject.timed(run), warm_calls=1)


def pass_of(subject: Subject, point: Point) -> Callable[[], torch.Tensor]:
    """The pass of `point` with its head: int64, the best token of each row."""
    return _runner(subject, _lay_out(subject, point), point.cached)


def work_of(subject: Subject, point: Point) -> Work:
    """What the pass of `point` must move and compute."""
    return subject.work(_lay_out(subject, point).cost)


def _runner(subject: Subject, laid: _Laid, cached: int) -> Callable[[], torch.Tensor]:
    """The pass, its head and the best token of each of the head's rows."""
    decoder, cache = subject.decoder, subject.cache(cached)
    forward = _host_forward(laid)

    @torch.inference_mode()
    def run_static() -> torch.Tensor:
        static = None if subject.runner is None else subject.runner.run(forward, cache)
        if subject.runner is None or static is None:
            return run()
        choosable, rows = subject.runner.choosable, range(laid.ids.shape[0])
        found = [static.scores(laid.head, of=at).survey(choosable).tokens for at in rows]
        return torch.cat(found)

    @torch.inference_mode()
    def run() -> torch.Tensor:
        hidden = decoder.forward(
            laid.ids,
            cache,
            visible=laid.visible,
            offsets=laid.offsets,
            draft_adapter=laid.draft_adapter,
        )
        picked = hidden.view(*laid.ids.shape, -1)[:, laid.head].flatten(0, 1)
        return decoder.logits(picked).argmax(dim=-1)

    return run if subject.runner is None else run_static


def _host_forward(laid: _Laid) -> Forward:
    """The pass as the decoding modes ask for it."""
    offsets = None if laid.offsets is None else laid.offsets.cpu()
    return Forward(
        "verify",
        laid.ids.cpu(),
        "full" if laid.visible is None else laid.visible.cpu(),
        offsets,
        laid.draft_adapter,
    )


def _lay_out(subject: Subject, point: Point) -> _Laid:
    if point.mode == "verify":
        return _verify(subject, point)
    return _draft(subject, point) if point.mode == "draft" else _shared(subject, point)


def _verify(subject: Subject, point: Point) -> _Laid:
    ids = _rows_of(subject, point, drawn_tokens(subject.decoder, point.block))
    cost = Pass(point.block, point.cached, point.rows, head_rows=ids.numel())
    return _Laid(ids, causal_mask(point.block, ids.device), None, False, slice(None), cost)


def _draft(subject: Subject, point: Point) -> _Laid:
    config = subject.decoder.config
    num_rows = num_draft_rows(point.block, config)
    masks = [config.mask_token_id] * (num_rows - 1)
    ids = _rows_of(subject, point, [*drawn_tokens(subject.decoder, 1), *masks])
    view = block_view(ids[0], config)
    visible = None if isinstance(view, str) else view
    first = predicting_row(1, config)
    adapted = num_rows if config.adapter_scope == "block" else len(masks)
    cost = Pass(
        num_rows,
        point.cached,
        point.rows,
        head_rows=point.rows * (num_rows - first),
        adapter_rows=point.rows * adapted if subject.decoder.has_draft_adapter else 0,
        pairs=point.rows * _num_seen(visible, num_rows),
    )
    return _Laid(ids, visible, None, True, slice(first, None), cost)


def _shared(subject: Subject, point: Point) -> _Laid:
    """Half of the rows are visible; the masks are dealt out behind them, one after the other."""
    config, device = subject.decoder.config, subject.device
    num_visible = (point.block + 1) // 2
    num_masks = point.block - num_visible
    each, more = divmod(num_masks, num_visible)
    depths = [each + (at < more) for at in range(num_visible)]
    masks = [config.mask_token_id] * num_masks
    ids = _rows_of(subject, point, [*drawn_tokens(subject.decoder, num_visible), *masks])
    visible, adapted = shared_view(depths, device), config.adapter_scope == "masks"
    cost = Pass(
        point.block,
        point.cached,
        point.rows,
        head_rows=ids.numel(),
        adapter_rows=point.rows * num_masks if adapted and subject.decoder.has_draft_adapter else 0,
        pairs=point.rows * _num_seen(visible, point.block),
    )
    return _Laid(ids, visible, shared_offsets(depths, device), adapted, slice(None), cost)


def _num_seen(visible: torch.Tensor | None, num_rows: int) -> int:
    return num_rows * num_rows if visible is None else int(visible.sum())


def _rows_of(subject: Subject, point: Point, tokens: list[int]) -> torch.Tensor:
    """int64 (rows, T): the same tokens in every row."""
    return torch.tensor([tokens] * point.rows, dtype=torch.int64, device=subject.device)
