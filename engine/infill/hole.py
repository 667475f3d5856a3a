"""Hole: where the cursor stands, as plain text facts that routing and the stop rules share."""

from __future__ import annotations

from dataclasses import dataclass

# A line that ends so opens a block of deeper lines.
BLOCK_OPENERS = (":", "{", "=>", "->")
# A line that ends so is not the end of its statement.
_UNFINISHED = (
    *BLOCK_OPENERS,
    *("(", "[", ",", "\\", "=", "&&", "||", "|", "+", " -", " *", " /", "?", "<<", "."),
    *(" and", " or", " not", " in", " else", " return", " await", " new"),
)
# White space, brackets and separators: all that may follow "{" in a pair closed by the editor.
_CLOSERS_ONLY = frozenset(" \t)]};,")


def indentation(line: str) -> int:
    """Width of the white space at the start of `line`; a tab counts as 4."""
    width = 0
    for char in line:
        if char not in " \t":
            break
        width += 4 if char == "\t" else 1
    return width


def is_unfinished(line: str) -> bool:
    """Whether the statement on `line` goes on after it."""
    return line.rstrip().endswith(_UNFINISHED)


@dataclass(frozen=True, slots=True)
class Hole:
    """The text around the cursor, with line ends normalised to ``\\n``.

    line_before / line_after: the parts of the cursor's own line.
    """

    prefix: str
    suffix: str

    @property
    def line_before(self) -> str:
        return self.prefix.rpartition("\n")[2]

    @property
    def line_after(self) -> str:
        return self.suffix.partition("\n")[0]

    @property
    def has_suffix(self) -> bool:
        """Whether anything but white space stands right of the cursor."""
        return bool(self.suffix.strip())

    @property
    def is_inside_line(self) -> bool:
        """Whether the cursor's own line has text right of the cursor that the middle must meet on
        this line. Between braces that an editor has closed by itself there is room for lines."""
        after = self.line_after.strip()
        is_auto_closed = (
            self.line_before.rstrip().endswith("{")
            and after.startswith("}")
            and _CLOSERS_ONLY.issuperset(after)
        )
        return bool(after) and not is_auto_closed

    @property
    def starts_line(self) -> bool:
        """Whether only indentation stands left of the cursor."""
        return not self.line_before.strip()
