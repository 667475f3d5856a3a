"""A small code-like language whose documents follow from their first line.

`train` draws documents from it; tests draw held-out documents, continuations and holes. A
document is a comment naming a noun, a number and the verbs of its functions; every function body
follows from its verb, except for one freely chosen local name at its first use.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

from tokenizers import Tokenizer

from tests.tiny_model import CHECKPOINT

END_TOKEN_ID = 11
MAX_MIDDLE_TOKENS = 20
# A hole keeps this many tokens of suffix at least, so that a suffix head exists.
MIN_SUFFIX_TOKENS = 6

NOUNS = (
    "apples books cards desks eggs files goats hats islands jobs keys lamps "
    "maps nets orders pages queues rows seats tasks users votes words zones"
).split()
NUMBERS = "2 3 4 5 6 7 8 9 10 12 16 20 24 32 50 64".split()
NAMES = "total value result state data text node best last first name index".split()

# Statement templates: {v} local name, {n} noun, {k} number, {f} verb.
_GUARD = "    if {v} > {k}:\n        return {v}\n"
_LOOP = "    for item in {n}:\n        {v} += item.{f}({k})\n"
_ASSERT = "    assert {v} is not None\n"
_GROW = "    while len({n}) < {k}:\n        {n}.append({v})\n"
_PRINT = '    print("{f} {n}", {v}, {k})\n'
_CALL = "    {v}.{f}({n}, {k})\n"
_TRY = "    try:\n        {v} = {f}({n})\n    except ValueError:\n        {v} = {k}\n"
_WITH = "    with open({n}) as log:\n        log.write({v})\n"

BODIES: dict[str, tuple[str, ...]] = {
    "clean": (_GUARD, _LOOP),
    "merge": (_LOOP, _PRINT),
    "sort": (_ASSERT, _GROW),
    "find": (_TRY, _GUARD),
    "load": (_WITH, _ASSERT),
    "save": (_PRINT, _WITH),
    "count": (_GROW, _CALL),
    "split": (_CALL, _TRY),
    "check": (_ASSERT, _GUARD, _PRINT),
    "send": (_CALL, _WITH),
    "pack": (_PRINT, _ASSERT, _LOOP),
    "move": (_WITH, _GROW),
}
VERBS = tuple(BODIES)

Cut = Literal["token", "word"]


@dataclass(frozen=True, slots=True)
class Document:
    """text: without the end token. free: character spans that the text before does not fix.
    names: per function, the spans of the local name's first and second use."""

    text: str
    free: tuple[tuple[int, int], ...]
    names: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Continuation:
    """A prompt and the text that must follow; is_end: the end token must follow that text."""

    prompt: str
    text: str
    is_end: bool


@dataclass(frozen=True, slots=True)
class Hole:
    """A hole whose middle follows from prefix and suffix together.

    cut: ``token`` when all three texts tokenise as they do inside the document, ``word`` when the
    prefix ends inside a word. by_suffix: the middle holds a name that only the suffix gives away.
    num_middle_tokens: tokens of the middle alone.
    """

    prefix: str
    middle: str
    suffix: str
    cut: Cut
    by_suffix: bool
    num_middle_tokens: int


def is_held_out(noun: str, verb: str) -> bool:
    """Whether the pair never meets in a training document: a quarter of all pairs."""
    return (NOUNS.index(noun) * 3 + VERBS.index(verb)) % 4 == 0


def document(rng: random.Random, *, held_out: bool) -> Document:
    """One document; its (noun, verb) pairs are all held-out ones or all training ones."""
    noun, number = rng.choice(NOUNS), rng.choice(NUMBERS)
    allowed = [verb for verb in VERBS if is_held_out(noun, verb) == held_out]
    # Always in the order of VERBS, which makes the next function easy to foretell.
    verbs = sorted(rng.sample(allowed, rng.choice((2, 2, 3))), key=VERBS.index)
    text = f"# {noun} {number}: {', '.join(verbs)}\n"
    free, names = [(0, len(text))], []
    for index, verb in enumerate(verbs):
        name = rng.choice(NAMES)
        text += "\n" * bool(index) + f"def {verb}_{noun}({noun}):\n    "
        free.append((len(text), len(text) + len(name)))
        names.append((len(text), len(text) + len(f"{name} = ")))
        text += f"{name} = {name} or make({noun}, {number})\n"
        for statement in BODIES[verb]:
            text += statement.format(v=name, n=noun, k=number, f=verb)
        text += f"    return {name}\n"
    return Document(text, tuple(free), tuple(names))


def documents(seed: int, *, held_out: bool) -> Iterator[Document]:
    """An endless stream of documents, the same for the same arguments."""
    rng = random.Random(f"{seed}-{held_out}")
    while True:
        yield document(rng, held_out=held_out)


@cache
def tokenizer() -> Tokenizer:
    """The checkpoint's tokenizer. Raises when the checkpoint folder holds none."""
    return Tokenizer.from_file(str(CHECKPOINT / "tokenizer.json"))


def encode(text: str) -> list[int]:
    """Token ids of `text`, without any added token."""
    return list(tokenizer().encode(text, add_special_tokens=False).ids)


def continuations(seed: int, num: int) -> list[Continuation]:
    """`num` held-out prompts, cut at token edges, whose continuation is fully determined."""
    rng = random.Random(f"continuations-{seed}")
    found: list[Continuation] = []
    for doc in documents(seed, held_out=True):
        edges = [start for start, _ in tokenizer().encode(doc.text).offsets]
        start = rng.choice([edge for edge in edges if edge > doc.free[0][1]])
        stop = min((s for s, _ in doc.free if s > start), default=len(doc.text))
        prompt, text = doc.text[:start], doc.text[start:stop]
        # The blank before a free name belongs to the name's token, hence the rstrip.
        text = text if stop == len(doc.text) else text.rstrip(" ")
        inside_free = any(s <= start < e for s, e in doc.free)
        if not inside_free and text and encode(prompt) + encode(text) == encode(prompt + text):
            found.append(Continuation(prompt, text, stop == len(doc.text)))
        if len(found) == num:
            break
    return found


def holes(seed: int, num: int) -> list[Hole]:
    """`num` held-out holes: three fifths cut at token edges and fixed by the prefix, a fifth
    whose name only the suffix gives away, a fifth whose prefix ends inside a word."""
    rng = random.Random(f"holes-{seed}")
    found: list[Hole] = []
    source = documents(seed, held_out=True)
    while len(found) < num:
        kind = rng.choice(("prefix", "prefix", "prefix", "suffix", "word"))
        drawn = (_hole(rng, doc, kind) for doc in source)
        found.append(next(hole for hole in drawn if hole is not None))
    return found


def _hole(rng: random.Random, doc: Document, kind: str) -> Hole | None:
    """A hole of `kind` in `doc`, or None when the drawn place does not give one."""
    offsets = tokenizer().encode(doc.text).offsets
    num_tokens = rng.randint(1, MAX_MIDDLE_TOKENS)
    if kind == "suffix":
        # From the name's first use (or before it) to at most its second use.
        first, second = rng.choice(doc.names)
        inside = [i for i, (start, end) in enumerate(offsets) if first < end and start < second]
        stop_token = rng.choice(inside[1:])
    else:
        stop_token = rng.randrange(num_tokens, len(offsets))
    start_token = stop_token - num_tokens
    if start_token < 1 or stop_token + MIN_SUFFIX_TOKENS > len(offsets):
        return None
    start, stop = offsets[start_token][0], offsets[stop_token][0]
    if kind == "word":
        word = doc.text[start : offsets[start_token][1]]
        # At least two letters stay on either side of the cut.
        cuts = range(start + 2 + word[0].isspace(), start + len(word) - 1)
        if not cuts or not word.strip().isalpha():
            return None
        start = rng.choice(cuts)
    return _checked(doc, start, stop, kind)


def _checked(doc: Document, start: int, stop: int, kind: str) -> Hole | None:
    """The hole [start, stop) when it is of `kind` and its middle is determined, else None."""
    if start < doc.free[0][1]:
        return None
    overlaps = any(s < stop and start < e for s, e in doc.free)
    reaches_name = any(first >= start and first < stop <= second for first, second in doc.names)
    if overlaps != (kind == "suffix") or (kind == "suffix" and not reaches_name):
        return None
    prefix, middle, suffix = doc.text[:start], doc.text[start:stop], doc.text[stop:]
    if kind != "word" and encode(prefix) + encode(middle) + encode(suffix) != encode(doc.text):
        return None
    cut: Cut = "word" if kind == "word" else "token"
    return Hole(prefix, middle, suffix, cut, kind == "suffix", len(encode(middle)))
