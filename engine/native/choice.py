"""Whether int8 is used, and with how many threads: measured once per machine, then remembered.

Four layers of the model's own shapes, int8 against what torch does with them, for a block of eight
tokens and for one; in turns, so that a busy machine slows both alike. How many threads pays off is
told by the best time for a piece of a prompt: on a busy machine the typical one says little.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from statistics import median

import torch

from engine.models.config import ModelConfig
from engine.models.linear import Linear
from engine.native import library
from engine.native.build import build_folder, find_library
from engine.native.memory import Arena, release
from engine.native.weight import Int8Weight

# More than the caches hold, as in a whole model.
_NUM_LAYERS = 4
_ROUNDS = 11
_BLOCK_ROWS = 8
_PROMPT_ROWS = 64
# Below this the loss in precision is not worth it.
_MIN_GAIN = 1.15
# A second thread must bring more in a prompt than it may take from the editor, and cost nothing in
# a block, where memory may be the limit.
_MIN_GAIN_OF_THREADS = 1.25
_MAX_LOSS_OF_THREADS = 1.1


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds for the block and for one token: of torch, and of int8 with num_threads threads."""

    num_threads: int
    torch_block_s: float
    torch_token_s: float
    int8_block_s: float
    int8_token_s: float

    @property
    def is_worth_it(self) -> bool:
        return (
            self.torch_block_s >= _MIN_GAIN * self.int8_block_s
            and self.torch_token_s >= self.int8_token_s
        )

    @property
    def reason(self) -> str:
        return (
            f"measured once on this machine, int8 ({library.kernels()}) does a block of "
            f"{_BLOCK_ROWS} in {self.int8_block_s / self.torch_block_s:.2f} times and a token in "
            f"{self.int8_token_s / self.torch_token_s:.2f} times what torch needs"
        )


def measured(
    config: ModelConfig, dtype: torch.dtype, num_threads: list[int], *, packed: bool
) -> Measured:
    """The comparison for the shapes of `config`, from the cache folder if it was made before.

    num_threads: to choose from, the fewest first. packed: whether torch may use oneDNN-packed
    weights. The kernels must be usable.
    """
    shapes = layer_shapes(config)
    # The first one counts the ways of measuring.
    facts = (2, shapes, str(dtype), num_threads, packed, torch.__version__, library.kernels())
    key = hashlib.sha256(f"{facts} {find_library().stem}".encode()).hexdigest()[:16]
    path = build_folder() / f"choice-{key}.json"
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Measured(**json.loads(path.read_text(encoding="utf-8")))
    found = _measure(shapes, dtype, num_threads, packed)
    release()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            json.dump(asdict(found), file)
        os.replace(file.name, path)
    return found


def layer_shapes(c: ModelConfig) -> list[tuple[int, int]]:
    """(out, in) of the linear layers of a block: qkv, out, gate and up, down."""
    heads = c.num_heads * c.head_dim
    return [
        (heads + 2 * c.num_kv_heads * c.head_dim, c.hidden_size),
        (c.hidden_size, heads),
        (2 * c.intermediate_size, c.hidden_size),
        (c.hidden_size, c.intermediate_size),
    ]


def _measure(
    shapes: list[tuple[int, int]], dtype: torch.dtype, num_threads: list[int], packed: bool
) -> Measured:
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]
    plain = [Linear(w, None, packed=packed) for _ in range(_NUM_LAYERS) for w in weights]
    arena = Arena()
    int8 = [
        Linear(Int8Weight.of(w, arena), None, packed=False)
        for _ in range(_NUM_LAYERS)
        for w in weights
    ]
    inputs = {
        (rows, K): torch.randn(rows, K, generator=generator).to(dtype)
        for rows in (1, _BLOCK_ROWS, _PROMPT_ROWS)
        for _, K in shapes
    }
    widths = [K for _, K in shapes] * _NUM_LAYERS

    def apply(layers: list[Linear], rows: int) -> Callable[[], None]:
        def go() -> None:
            for layer, width in zip(layers, widths, strict=True):
                layer(inputs[rows, width])

        return go

    seconds: dict[tuple[int, int], list[float]] = {}
    for _ in range(_ROUNDS):
        for rows in (1, _BLOCK_ROWS, _PROMPT_ROWS):
            if rows != _PROMPT_ROWS:
                seconds.setdefault((0, rows), []).append(_timed(apply(plain, rows)))
            for threads in num_threads:
                library.set_threads(threads)
                seconds.setdefault((threads, rows), []).append(_timed(apply(int8, rows)))
    typical = {case: median(each[1:]) for case, each in seconds.items()}
    best = {case: min(each) for case, each in seconds.items()}
    chosen = num_threads[0]
    for threads in num_threads[1:]:
        if _is_worth_threads(best, chosen, threads):
            chosen = threads
    return Measured(
        chosen,
        typical[0, _BLOCK_ROWS],
        typical[0, 1],
        typical[chosen, _BLOCK_ROWS],
        typical[chosen, 1],
    )


def _is_worth_threads(best: Mapping[tuple[int, int], float], fewer: int, more: int) -> bool:
    """best: seconds by threads and rows."""
    prompt_gain = best[fewer, _PROMPT_ROWS] / best[more, _PROMPT_ROWS]
    block_loss = best[more, _BLOCK_ROWS] / best[fewer, _BLOCK_ROWS]
    return prompt_gain >= _MIN_GAIN_OF_THREADS and block_loss <= _MAX_LOSS_OF_THREADS


def _timed(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
