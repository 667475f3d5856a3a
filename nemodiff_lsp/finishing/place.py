"""Place: the text around the cursor, cut to a window, and the plain facts that the rules share.

Built for every call of `finish.py`; knows nothing of protocols and models.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePath

# Together the most that is ever looked at, or parsed, whatever the document's length.
WINDOW_PREFIX_CHARS, WINDOW_SUFFIX_CHARS = 5_000, 1_500
# Code that is not indented begins a definition or a statement of its own.
_TOP_LEVEL = re.compile(r"\n(?=[A-Za-z@#])")
# White space, brackets and separators: all that may follow the cursor in a pair that the editor
# has closed by itself.
_CLOSERS_ONLY = frozenset(" \t)]};,")


def with_newlines(text: str) -> str:
    """`text` with ``\\n`` as its only line end."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _first_cut(prefix: str) -> int:
    """Where a window that begins with `prefix` had better begin."""
    top = _TOP_LEVEL.search(prefix, 0, len(prefix) // 2)
    return top.start() + 1 if top is not None else prefix.find("\n") + 1


def _last_cut(suffix: str) -> int:
    """Where a window that ends with `suffix` had better end."""
    tops = list(_TOP_LEVEL.finditer(suffix, len(suffix) // 2))
    return tops[-1].start() + 1 if tops else suffix.rfind("\n") + 1 or len(suffix)


def _as_text(text: str) -> str:
    # Half of a surrogate pair cannot be encoded for the parser.
    return with_newlines(text).encode("utf-8", "replace").decode()


def blank_start(line: str) -> str:
    """The white space at the start of `line`."""
    return line[: len(line) - len(line.lstrip(" \t"))]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a completion goes.

    prefix / suffix: text before / after the cursor, as much of it as there is. language_id: the
    protocol's; path: the file's name, used where the language id is missing or unknown.
    tab_size (columns) and insert_spaces: the editor's formatting options, if it has told them.
    """

    prefix: str
    suffix: str
    language_id: str | None = None
    path: str | None = None
    tab_size: int | None = None
    insert_spaces: bool | None = None

    def window(self) -> Place:
        """The same place with the text near the cursor only, ``\\n`` at its line ends.

        Both cuts fall on line ends, if possible between definitions, so that what is cut parses;
        a line that is longer than the window is cut inside.
        """
        prefix, suffix = self.prefix, self.suffix
        if len(prefix) > WINDOW_PREFIX_CHARS:
            prefix = prefix[-WINDOW_PREFIX_CHARS:]
            prefix = prefix[_first_cut(prefix) :]
        if len(suffix) > WINDOW_SUFFIX_CHARS:
            suffix = suffix[:WINDOW_SUFFIX_CHARS]
            suffix = suffix[: _last_cut(suffix)]
        return replace(self, prefix=_as_text(prefix), suffix=_as_text(suffix))

    @cached_property
    def line_before(self) -> str:
        """The cursor's line left of the cursor."""
        return self.prefix.rpartition("\n")[2]

    @cached_property
    def line_after(self) -> str:
        """The cursor's line right of the cursor."""
        return self.suffix.partition("\n")[0]

    @cached_property
    def indent(self) -> str:
        """The white space that the cursor's line starts with."""
        return blank_start(self.line_before)

    @cached_property
    def lines_above(self) -> list[str]:
        """Whole lines above the cursor's, without the blank ones, top first."""
        return [line for line in self.prefix.split("\n")[:-1] if line.strip()]

    @cached_property
    def lines_below(self) -> list[str]:
        """Whole lines below the cursor's, without the blank ones, top first."""
        return [line for line in self.suffix.split("\n")[1:] if line.strip()]

    @property
    def starts_line(self) -> bool:
        """Whether only white space stands left of the cursor on its line."""
        return not self.line_before.strip()

    @property
    def is_between_braces(self) -> bool:
        """Whether the cursor stands in a pair of braces that the editor has closed by itself."""
        after = self.line_after.strip()
        return (
            self.line_before.rstrip().endswith("{")
            and after.startswith("}")
            and _CLOSERS_ONLY.issuperset(after)
        )

    @property
    def is_inside_line(self) -> bool:
        """Whether the completion must meet text on the cursor's own line."""
        return bool(self.line_after.strip()) and not self.is_between_braces

    @property
    def inserts_line(self) -> bool:
        """Whether a whole line is being inserted above the text right of the cursor."""
        return self.is_inside_line and self.starts_line

    @property
    def file_ending(self) -> str:
        """The lower-case ending of the file's name, with its dot, or an empty string."""
        return PurePath(self.path).suffix.lower() if self.path else ""
