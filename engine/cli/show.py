"""A completion shown to a person: in place, with a few lines around it, and its facts.

Used by `complete.py`. Colours only where the output is a terminal (rich decides).
"""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from engine.cli.source_file import SourceHole, with_newline
from engine.messages.completion import Completion

_NUM_CONTEXT_LINES = 4
_INSERTED, _CONTEXT, _GUTTER = "bold green", "", "dim"

# Text may hold codes that move the cursor or reorder the line; show each as a visible sign.
_SIGNS = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"}
_SIGNS |= {0x7F: 0x2421} | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
_SIGNS |= dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD)


def show(console: Console, hole: SourceHole, completion: Completion) -> None:
    """Print the best choice in place, then the other ones, then the line of facts."""
    best = completion.choices[0].text if completion.choices else ""
    console.print(in_place(hole, best), soft_wrap=True)
    for number, choice in enumerate(completion.choices[1:], start=2):
        console.print(Text(f"\nalternative {number}:", _GUTTER))
        console.print(Text(_printable(choice.text), _INSERTED), soft_wrap=True)
    console.print()
    console.print(Text(facts_line(completion), _GUTTER), soft_wrap=True)


def in_place(hole: SourceHole, inserted: str) -> Text:
    """The lines around the hole with `inserted` in it; a ``+`` marks the lines it touches."""
    before = _printable(hole.before).split("\n")[-_NUM_CONTEXT_LINES - 1 :]
    after = _printable(hole.after).split("\n")[: _NUM_CONTEXT_LINES + 1]
    parts = [("\n".join(before), _CONTEXT), (_printable(inserted), _INSERTED)]
    parts.append(("\n".join(after), _CONTEXT))
    body = Text.assemble(*parts)
    first = hole.line - len(before) + 1
    last_touched = hole.line + _printable(inserted).count("\n")
    lines = body.split("\n", allow_blank=True)
    width = len(str(first + len(lines) - 1))
    shown = Text()
    for number, line in enumerate(lines, start=first):
        is_touched = bool(inserted) and hole.line <= number <= last_touched
        shown.append(f"{number:>{width}} {'+' if is_touched else '|'} ", _GUTTER)
        shown.append_text(line)
        shown.append("\n" if number < first + len(lines) - 1 else "")
    return shown


def facts_line(completion: Completion) -> str:
    """Route, mode and cost in one line; says so when the deadline cut the answer short."""
    facts = completion.facts
    total_ms = facts.timings_ms.get("total", sum(facts.timings_ms.values()))
    parts = [
        facts.route,
        facts.mode,
        f"{facts.tokens} tokens",
        f"{facts.forwards} forwards",
        f"{facts.tokens_per_forward:.2f} tokens/forward",
        f"{total_ms:.0f} ms",
        completion.model,
    ]
    reasons = {choice.finish_reason for choice in completion.choices}
    if "deadline" in reasons:
        parts.append("the deadline passed: this is the best draft so far")
    elif facts.gated:
        parts.append("nothing worth offering (--no-gate shows it all the same)")
    elif not any(choice.text for choice in completion.choices):
        parts.append("nothing to insert")
    return " | ".join(parts)


def _printable(text: str) -> str:
    return with_newline(text, "\n").translate(_SIGNS)
