"""GraphRunner: does a mode's forward as one copy in, one replay, one copy out and one wait.

Called by `engine.decoding.batch`. What it cannot do, it leaves to `run_forward`, its slow twin.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import torch

from engine.decoding.forward import Forward, Output, row
from engine.graphs.backends import Backend
from engine.graphs.inputs import PassInputs, PassShape, num_bytes, num_positions
from engine.graphs.ops import Ops
from engine.graphs.outputs import StaticHead, StaticOutput
from engine.graphs.static_pass import PassOutputs, StaticPass, unpack_survey
from engine.kv_cache import KVCache
from engine.models.decoder import Decoder
from engine.models.survey import Choosable

_logger = logging.getLogger(__name__)

MAX_TOKENS = 64
_T_BUCKETS = (1, 8, 16, 32, 64)
# The last decides whether a pass fits, the others how finely attention is split.
_LENGTH_BUCKETS = (1024, 2048, 4096, 8192, 16384, 32768)
MAX_CACHED_TOKENS = _LENGTH_BUCKETS[-1]
_MAX_GRAPHS = 32
# Cached tokens of the passes that are captured ahead: prompts of up to 1k and up to 2k tokens.
_FIRST_LENGTHS = (0, _LENGTH_BUCKETS[0] + 1)


class _Ready(NamedTuple):
    static: StaticPass
    replay: Callable[[], None]


class GraphRunner:
    """choosable: whose survey every pass makes; another one costs more. max_graphs: the one that
    was used longest ago is given up for a new one. problem: why it has given up, None while it
    works; num_captured and num_replayed count."""

    def __init__(
        self,
        decoder: Decoder,
        ops: Ops,
        choosable: Choosable,
        backend: Backend,
        *,
        num_positions: int = 0,
        max_graphs: int = _MAX_GRAPHS,
    ) -> None:
        self.problem: str | None = None
        self.num_captured = self.num_replayed = 0
        self._decoder, self._ops, self.choosable = decoder, ops, choosable
        self._backend, self._max_graphs = backend, max_graphs
        self._ready: dict[PassShape, _Ready] = {}
        self._outputs = PassOutputs(decoder, MAX_TOKENS)
        self._found, _ = backend.buffers(self._outputs.found.nbytes)
        self._last_head: StaticHead | None = None
        # Tables that grow later move, and what was captured before would read the old ones.
        decoder.rotary.reserve(num_positions)
        self._num_positions = decoder.rotary.num_positions

    @torch.inference_mode()
    def run(self, forward: Forward, cache: KVCache) -> Output | None:
        """The pass, with its survey on the host; None where it must be done without a graph. What
        the Output reads lazily holds until the next call, see StaticHead."""
        shape = self._shape(forward, cache)
        if shape is None or self.problem is not None:
            return None
        if self._last_head is not None:
            self._last_head.is_over = True
        if shape.R == 1:
            cache.reserve(shape.T)
        self._reserve_positions(num_positions(forward, cache))
        try:
            ready = self._ready_for(shape, forward, cache)
        # Whatever a driver or a compiler fails with: nothing of it is needed to go on.
        except Exception as failure:
            self._give_up(failure)
            return None
        ready.replay()
        self.num_replayed += 1
        return self._output(ready.static, forward)

    def warm_up(self, report: Callable[[str, float | None], None]) -> None:
        """Capture what requests ask for first, so that none of them waits for a compiler: passes of
        one sequence of every size, with and without the draft adapter."""
        adapters = (False, True) if self._decoder.has_draft_adapter else (False,)
        shapes = list(product(_FIRST_LENGTHS, _T_BUCKETS, adapters))
        for number, (num_cached, T, with_adapter) in enumerate(shapes):
            report("capturing graphs", number / len(shapes))
            cache = self._decoder.new_cache()
            cache.reserve(num_cached + T)
            cache.commit([0] * num_cached)
            forward = Forward("verify", row([0] * T), "causal", draft_adapter=with_adapter)
            if self.run(forward, cache) is None:
                return

    def drop(self) -> None:
        """Give up all graphs; later passes capture anew. Needed when weights or adapters move."""
        self._ready.clear()

    def _shape(self, forward: Forward, cache: KVCache) -> PassShape | None:
        R, T = forward.ids.shape
        padded = next((size for size in _T_BUCKETS if size >= T), None)
        length = next((size for size in _LENGTH_BUCKETS if size >= cache.length), None)
        if padded is None or length is None or R * padded > MAX_TOKENS:
            return None
        with_adapter = forward.draft_adapter and self._decoder.has_draft_adapter
        return PassShape(R, padded, with_adapter, length)

    def _reserve_positions(self, needed: int) -> None:
        rotary = self._decoder.rotary
        rotary.reserve(needed)
        if rotary.num_positions != self._num_positions:
            self._num_positions = rotary.num_positions
            self.drop()

    def _ready_for(self, shape: PassShape, forward: Forward, cache: KVCache) -> _Ready:
        """The pass of this shape, with its inputs on their way to the device."""
        ready = self._ready.pop(shape, None)
        static = self._static(shape) if ready is None else ready.static
        static.inputs.fill(forward, cache)
        self._backend.upload(static.inputs.host_buffer, static.inputs.device_buffer)
        if ready is None:
            if len(self._ready) >= self._max_graphs:
                del self._ready[next(iter(self._ready))]
            # After the inputs, as it may be run meanwhile.
            ready = _Ready(static, self._backend.capture(static.compute))
            self.num_captured += 1
        self._ready[shape] = ready
        return ready

    def _static(self, shape: PassShape) -> StaticPass:
        num_layers = self._decoder.config.num_layers
        buffers = self._backend.buffers(num_bytes(shape, num_layers))
        return StaticPass(
            self._decoder,
            self._ops,
            self.choosable,
            PassInputs(shape, num_layers, *buffers),
            self._outputs,
        )

    def _output(self, static: StaticPass, forward: Forward) -> Output:
        shape = static.inputs.shape
        host = self._found.view(torch.float32)[: static.found.numel()].view_as(static.found)
        self._backend.download(static.found, host)
        head = StaticHead(static.logits, unpack_survey(host), self.choosable, self._ops.survey)
        self._last_head = head
        hidden = static.hidden.view(shape.R, shape.T, -1)[:, : forward.ids.shape[1]]
        return StaticOutput(hidden, self._decoder, head, shape.T)

    def _give_up(self, failure: Exception) -> None:
        told = (str(failure).strip() or type(failure).__name__).splitlines()[0][:200]
        self.problem = f"CUDA graphs were given up, passes are done without them: {told}"
        _logger.warning(self.problem)
        self.drop()
