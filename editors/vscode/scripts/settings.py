"""Writes the server's settings into package.json, or checks with --check that they are there.

Run as ``python editors/vscode/scripts/settings.py [--check]`` with NemoDiff installed. The settings
of the extension itself, which the server never sees, stand here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1] / "package.json"

_SCOPES = {"workspace": "window", "machine": "machine"}
# JSON numbers beyond it are no whole numbers to the editor.
_MAX_EXACT = 2**53
OWN: dict[str, dict[str, Any]] = {
    "nemodiff.server.command": {
        "type": "array",
        "items": {"type": "string"},
        "default": [],
        "markdownDescription": "Program and arguments of the language server, such as "
        '`["/path/to/.venv/bin/nemodiff", "lsp"]`. Empty: the one of the active Python '
        "environment, on PATH, or in NemoDiff's own environment.",
        "scope": "machine",
    },
    "nemodiff.server.package": {
        "type": "string",
        "default": "",
        "markdownDescription": "What *Set up NemoDiff* installs into its own environment: the path "
        "of a clone, or a requirement as pip knows it. Empty: you are asked for the clone's "
        "folder.",
        "scope": "machine",
    },
}


def server_schema() -> dict[str, Any]:
    """The server's own table, as JSON schema."""
    command = [sys.executable, "-m", "nemodiff_lsp.settings.table", "--json"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    schema: dict[str, Any] = json.loads(run.stdout)
    return schema


def contribution(value: dict[str, Any]) -> dict[str, Any]:
    """One setting as VS Code wants it."""
    text = value["description"]
    made = {key: each for key, each in value.items() if key not in ("description", "x-scope")}
    for bound in ("minimum", "maximum"):
        if abs(made.get(bound, 0)) > _MAX_EXACT:
            del made[bound]
        elif isinstance(made.get(bound), float) and made[bound].is_integer():
            made[bound] = int(made[bound])
    made["markdownDescription"] = f"{text[:1].upper()}{text[1:]}."
    made["scope"] = _SCOPES[value["x-scope"]]
    return made


def properties() -> dict[str, dict[str, Any]]:
    """All that stands under contributes.configuration.properties."""
    table = server_schema()["properties"]
    return {**OWN, **{f"nemodiff.{name}": contribution(value) for name, value in table.items()}}


def updated(package: dict[str, Any]) -> dict[str, Any]:
    """`package` with the settings of now."""
    made: dict[str, Any] = json.loads(json.dumps(package))
    made["contributes"]["configuration"]["properties"] = properties()
    machine = [name for name, value in properties().items() if value["scope"] == "machine"]
    made["capabilities"]["untrustedWorkspaces"]["restrictedConfigurations"] = machine
    return made


def main() -> int:
    package = json.loads(PACKAGE.read_text(encoding="utf-8"))
    wanted = updated(package)
    if "--check" in sys.argv[1:]:
        if wanted != package:
            sys.stderr.write(f"{PACKAGE.name} is not up to date: run {Path(__file__).name}.\n")
            return 1
        return 0
    text = json.dumps(wanted, indent=2, ensure_ascii=False)
    PACKAGE.write_text(f"{text}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
