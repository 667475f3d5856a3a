"""Real code to complete: holes in Python's own library, which is on every machine."""

from __future__ import annotations

import random
import sysconfig
import zlib
from dataclasses import dataclass
from pathlib import Path

from engine.errors import EngineError

_MODULES = (
    "argparse bisect calendar configparser contextlib copy csv dataclasses difflib enum fractions "
    "gettext glob gzip heapq inspect mailbox optparse pathlib pickle pprint queue sched shelve "
    "shutil smtplib socketserver statistics string tarfile textwrap threading timeit tokenize "
    "traceback uuid wave zipfile"
).split()
_MAX_CHARS = 40_000


@dataclass(frozen=True, slots=True)
class CodeHole:
    """Text left and right of a cursor; a few lines between them were cut out."""

    module: str
    prefix: str
    suffix: str

    @property
    def document(self) -> str:
        """The document that the engine keeps its prompt for; another one for each hole."""
        number = zlib.crc32(f"{self.prefix}\0{self.suffix}".encode())
        return f"bench {number:08x}"


def code_holes(num: int, *, prefix_chars: int, seed: int = 0) -> list[CodeHole]:
    """`num` holes of three lines that begin behind a word; the text shown right of them is
    half as long as that left of them. Raises EngineError."""
    rng, folder = random.Random(seed), Path(sysconfig.get_path("stdlib"))
    holes: list[CodeHole] = []
    modules = [name for name in _MODULES if (folder / f"{name}.py").is_file()]
    if not modules:
        raise EngineError("This Python has no library in source form to take prompts from.")
    while len(holes) < num:
        module = modules[len(holes) % len(modules)]
        text = (folder / f"{module}.py").read_text(encoding="utf-8")[:_MAX_CHARS]
        lines = text.splitlines(keepends=True)
        at = rng.randrange(len(lines) // 3, max(len(lines) // 3 + 1, len(lines) - 8))
        # A line of several words, cut behind one: no token is then cut in two.
        at = next((i for i in range(at, len(lines) - 4) if len(lines[i].split()) > 2), at)
        words = lines[at].rstrip()
        prefix = "".join(lines[:at]) + words[: words.rfind(" ")]
        suffix = "\n" + "".join(lines[at + 3 :])
        holes.append(CodeHole(module, prefix[-prefix_chars:], suffix[: prefix_chars // 2]))
    return holes
