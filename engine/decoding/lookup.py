"""Lookup: drafts copied from the text that is in the cache already, beside those of the masks.

Code repeats itself: what followed the last few tokens where they stood before is a free guess at
what follows now (prompt lookup decoding, github.com/apoorvumang/prompt-lookup-decoding). A copy
costs no forward, and the verify pass judges it like any other draft, so it cannot change the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from operator import mul

from engine.decoding.shared_pass import NO_DRAFT, Draft
from engine.decoding.state import Decoding

# How often the token behind an earlier place is right, by how many tokens before it are the same
# (1, 2, ...). Counted on true lines of Python's library, given both sides of each line, by a
# 0.5B model's tokenizer; docs/measurements.md, "Copied drafts". Below the threshold of drafts that
# a deadline may show unjudged.
CHANCES = (0.21, 0.38, 0.48, 0.57, 0.67, 0.71, 0.75, 0.8, 0.83)
# Farther back the search costs more than it finds.
_REACH_TOKENS = 8192


def find_copy(tokens: Sequence[int], seed: int, max_tokens: int) -> Draft:
    """What followed `seed` where the longest end of ``tokens + [seed]`` stood before.

    Of several such places the last counts. NO_DRAFT when `seed` is new.
    """
    known = list(tokens[-_REACH_TOKENS:])
    end, at, longest, behind = len(known), -1, 0, 0
    while True:
        try:
            at = known.index(seed, at + 1)
        except ValueError:
            break
        length = 1
        while length < len(CHANCES) and length <= at and known[at - length] == known[end - length]:
            length += 1
        if length >= longest:
            longest, behind = length, at + 1
    if not longest:
        return NO_DRAFT
    copied = known[behind : behind + max_tokens]
    # Each copied token that is right makes the match one longer for the next.
    return Draft(copied, [_chance(longest + i) for i in range(len(copied))])


def with_copy(state: Decoding, seed: int, draft: Draft, max_tokens: int) -> Draft:
    """`draft`, or the copy where that promises more tokens; both where they agree.

    seed: emitted, not yet cached, followed by `draft`. max_tokens: of the copy, 0 = none.
    """
    if not max_tokens:
        return draft
    found = find_copy(state.cache.tokens, seed, max_tokens)
    return mixed(draft, _writable(state, found))


def mixed(draft: Draft, copy: Draft) -> Draft:
    """The agreed beginning of both, then the tail that is expected to be right for longer."""
    pairs = zip(draft.tokens, copy.tokens, strict=False)
    agreed = next(
        (at for at, (one, other) in enumerate(pairs) if one != other),
        min(len(draft.tokens), len(copy.tokens)),
    )
    sure = [
        1 - (1 - one) * (1 - other)
        for one, other in zip(draft.confidences[:agreed], copy.confidences[:agreed], strict=True)
    ]
    tails = draft.behind(agreed), copy.behind(agreed)
    tail = max(tails, key=expected_tokens)
    return Draft(draft.tokens[:agreed] + tail.tokens, sure + tail.confidences)


def expected_tokens(draft: Draft) -> float:
    """How many of its tokens will be accepted, if its confidences are right."""
    return sum(accumulate(draft.confidences, mul), start=0.0)


def _chance(length: int) -> float:
    return CHANCES[min(length, len(CHANCES)) - 1]


def _writable(state: Decoding, draft: Draft) -> Draft:
    """Up to the first token that is no text: marks between the parts of a prompt, say."""
    if not draft.tokens:
        return draft
    forbidden = state.sampler.choosable.is_forbidden[draft.tokens].tolist()
    ends = state.config.eos_token_ids
    stops = (bad or token in ends for token, bad in zip(draft.tokens, forbidden, strict=True))
    end = next((at for at, stop in enumerate(stops) if stop), len(draft.tokens))
    return Draft(draft.tokens[:end], draft.confidences[:end])
