"""The table of docs/settings.md, and the settings as a JSON schema.

`python -m nemodiff_lsp.settings.table docs/settings.md` brings the file up to date, a test sees to
it that this has been done; editors' own settings are checked against `--json`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import Field
from pathlib import Path
from typing import Any

from nemodiff_lsp.settings.settings import FIELDS
from nemodiff_lsp.settings.values import spec_of

_START, _END = "<!-- settings:", "<!-- /settings -->"


def main(argv: Sequence[str] | None = None) -> int:
    """Write the table into a file, or print it or the schema; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m nemodiff_lsp.settings.table")
    parser.add_argument("file", nargs="?", type=Path, help="put the table into this file")
    parser.add_argument("--json", action="store_true", help="print a JSON schema instead")
    args = parser.parse_args(argv)
    if args.file is None:
        sys.stdout.write(f"{json.dumps(schema(), indent=2)}\n" if args.json else table())
        return 0
    try:
        args.file.write_text(with_table(args.file.read_text("utf-8")), encoding="utf-8")
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{args.file} cannot be brought up to date: {error}\n")
        return 1
    return 0


def with_table(document: str) -> str:
    """`document` with the table between its two marks. Raises ValueError without them."""
    before, mark, rest = document.partition(_START)
    old, end, after = rest.partition(_END)
    if not end:
        raise ValueError("it has no marks for the table")
    return f"{before}{mark}{old.partition(chr(10))[0]}\n{table()}{end}{after}"


def table() -> str:
    """All settings as a Markdown table."""
    lines = ["| setting | default | values | meaning |", "|---|---|---|---|"]
    lines += [_line(key, known) for key, known in FIELDS.items()]
    return "\n".join(lines) + "\n"


def schema() -> dict[str, Any]:
    """A JSON schema of the settings object. `x-scope`: ``machine`` or ``workspace``."""
    properties: dict[str, Any] = {}
    for key, known in FIELDS.items():
        spec = spec_of(known)
        default = list(known.default) if isinstance(known.default, tuple) else known.default
        kind = dict(spec.kind.schema)
        if default is None:
            kind["type"] = [kind["type"], "null"]
        properties[key] = {
            **kind,
            "default": default,
            "description": spec.doc,
            "x-scope": spec.scope,
        }
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _line(key: str, known: Field[Any]) -> str:
    spec = spec_of(known)
    default = known.default
    if default is None:
        shown = spec.automatic_default()
    else:
        shown = f"`{json.dumps(list(default) if isinstance(default, tuple) else default)}`"
    values = f"{spec.kind.name}: {spec.kind.bounds}" if spec.kind.bounds else spec.kind.name
    scope = " (**you only**)" if spec.scope == "machine" else ""
    return f"| `{key}` | {shown} | {values} | {spec.doc}{scope} |"


if __name__ == "__main__":
    sys.exit(main())
