"""Token healing: restart generation at a token edge, so that typed characters are kept.

Two keystrokes out of three leave the cursor inside a token; asked to go on from there, a model
answers a question it never saw in training. So the last token is taken back and the model must
spell its characters again, as part of any token that begins with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from engine.decoding.forward import Forward, Steps, row
from engine.decoding.hint import Ahead
from engine.decoding.sampling import Pick
from engine.decoding.state import Decoding
from engine.tokenizer import CodeTokenizer

_MAX_TOKENS_BACK = 3


class Healed(NamedTuple):
    """Tokens to keep as context, and the bytes that the next tokens must begin with."""

    tokens: list[int]
    need: bytes


def heal(tokens: Sequence[int], tokenizer: CodeTokenizer) -> Healed:
    """Take back one token, and more while the joined text is inside some longer token.

    Stops at white space and never crosses a line end.
    """
    unhealed = Healed(list(tokens), b"")
    if not tokens:
        return unhealed
    need = tokenizer.token_bytes(tokens[-1])
    if not need or need.endswith(b"\n") or not tokenizer.starts_longer_token(need):
        return unhealed
    back = 1
    while back < min(_MAX_TOKENS_BACK, len(tokens)):
        if need[:1].isspace():
            break
        joined = tokenizer.token_bytes(tokens[-back - 1]) + need
        if len(joined) == len(need) or not tokenizer.starts_longer_token(joined):
            break
        need, back = joined, back + 1
    try:
        need.decode("utf-8")
    except UnicodeDecodeError:
        # The cut would fall inside a character.
        return unhealed
    return Healed(list(tokens[:-back]), need)


def unmet_need(need: bytes, written: bytes) -> bytes:
    """What of `need` is still to be spelt after `written`."""
    return need[len(written) :] if need.startswith(written) else b""


def spell(
    state: Decoding,
    pick: Pick,
    need: bytes,
    tokenizer: CodeTokenizer,
    ahead: Ahead | None = None,
) -> Steps[int]:
    """Emit `pick` and, token by token, whatever of `need` it left; returns the new seed.

    Tokens that only spell what the user has typed already do not count against max_tokens.
    ahead: the pass that `pick` comes from; what it tells of the next tokens saves forwards.
    """
    if need:
        state.first_index = None
    while True:
        written = tokenizer.token_bytes(pick.tokens[0])
        state.num_uncounted_tokens += bool(need) and len(written) <= len(need)
        state.log_masses.append(pick.log_mass)
        state.emit_pick(pick)
        if need and len(written) == len(need):
            state.first_index = len(state.tokens)
        need = unmet_need(need, written)
        if not need or state.is_finished:
            return pick.tokens[0]
        if ahead is not None and ahead.take(state, pick.tokens[0]):
            scores = ahead.next_scores
        else:
            if ahead is not None:
                ahead.is_over = True
            output = yield Forward("ar", row(pick.tokens), "causal")
            state.cache.commit(pick.tokens)
            scores = output.scores([0])
        pick = state.sampler.pick(scores, tokenizer.allowed_first_tokens(need))
