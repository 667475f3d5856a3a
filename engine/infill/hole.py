"""Hole: where the cursor stands, as plain text facts that routing and the stop rules share."""

from __future__ import annotations

from dataclasses import dataclass

# A line that ends so goes on: what follows is a block, an argument list or the rest of a statement.
_CONTINUING = (":", "{", "(", "[", ",", "\\", "=>", "->")


def indentation(line: str) -> int:
    """Width of the white space at the start of `line`; a tab counts as 4."""
    width = 0
    for char in line:
        if char not in " \t":
            break
        width += 4 if char == "\t" else 1
    return width


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
        """Whether the cursor's own line has text right of the cursor."""
        return bool(self.line_after.strip())

    @property
    def starts_line(self) -> bool:
        """Whether only indentation stands left of the cursor."""
        return not self.line_before.strip()

    @property
    def opens_block(self) -> bool:
        """Whether the text left of the cursor asks for more lines."""
        return self.line_before.rstrip().endswith(_CONTINUING)
