"""ar: one token per forward, causal, with KV cache. The slow twin of every speculative mode."""

from __future__ import annotations

from engine.decoding.forward import Forward, Steps, row
from engine.decoding.state import Decoding


def ar(state: Decoding, seed: int) -> Steps[None]:
    """Continue behind `seed`, which is emitted but not yet cached."""
    while not state.is_finished:
        output = yield Forward("ar", row([seed]), "causal")
        state.cache.commit([seed])
        pick = state.pick(output.scores([0]))
        seed = pick.tokens[0]
        state.emit_pick(pick)
