"""Real source text for tests of the default model: cuts in the Python standard library."""

from __future__ import annotations

import random
import sysconfig
from dataclasses import dataclass
from pathlib import Path

_MODULES = (
    "argparse bisect calendar collections/__init__ configparser contextlib copy csv dataclasses "
    "difflib enum fractions functools gettext glob gzip heapq html/parser http/client imaplib "
    "inspect json/decoder logging/__init__ mailbox mimetypes optparse pathlib pickle pprint queue "
    "random sched selectors shelve shlex shutil smtplib socketserver statistics string tarfile "
    "textwrap threading timeit tokenize traceback urllib/parse uuid wave weakref zipfile"
).split()


@dataclass(frozen=True, slots=True)
class Cut:
    """The text left and right of a cursor inside a module of the standard library."""

    module: str
    prefix: str
    suffix: str


def cuts(num: int, *, max_chars: int, seed: int = 0) -> list[Cut]:
    """`num` cuts, each at the end of a word, with at most `max_chars` on the left."""
    rng = random.Random(seed)
    folder = Path(sysconfig.get_path("stdlib"))
    found: list[Cut] = []
    while len(found) < num:
        module = _MODULES[len(found) % len(_MODULES)]
        text = (folder / f"{module}.py").read_text(encoding="utf-8")
        at = rng.randrange(len(text) // 4, len(text) - 400)
        at = text.find(" ", at)
        found.append(Cut(module, text[max(0, at - max_chars) : at], text[at : at + max_chars]))
    return found
