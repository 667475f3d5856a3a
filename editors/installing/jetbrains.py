"""JetBrains IDEs: a template for LSP4IJ with the server of this clone, ready to be imported.

The plugin itself is built by Gradle where JetBrains' repositories can be reached
(editors/jetbrains); an IDE takes neither without its own dialogs.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from installing.user_files import State

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "editors" / "jetbrains" / "lsp4ij-template" / "nemodiff"

CLICKS = """\
In the IDE: Settings | Plugins: install LSP4IJ (0.20 or newer), then
View | Tool Windows | Language Servers | New Language Server | Template |
Import from custom template…: choose {folder}
"""


@dataclass(frozen=True)
class Template:
    """A copy of the template whose command is the server's whole path; all of it is ours."""

    server: Path

    @property
    def path(self) -> Path:
        return Path(sys.prefix) / "lsp4ij-template" / "nemodiff"

    def state(self) -> State:
        if not self.path.exists():
            return State.ABSENT
        file = self.path / "template.json"
        is_same = file.exists() and file.read_text(encoding="utf-8") == self._template()
        return State.OURS if is_same else State.OLD

    def put(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        shutil.copytree(SOURCE, self.path)
        (self.path / "template.json").write_text(self._template(), encoding="utf-8")

    def take_back(self) -> None:
        shutil.rmtree(self.path.parent)

    def preview(self) -> str:
        return f"the template of editors/jetbrains with the command {self._command()}"

    def _command(self) -> str:
        path = str(self.server)
        return f'"{path}" lsp' if " " in path else f"{path} lsp"

    def _template(self) -> str:
        template = json.loads((SOURCE / "template.json").read_text(encoding="utf-8"))
        template["programArgs"] = dict.fromkeys(template["programArgs"], self._command())
        return json.dumps(template, indent=2) + "\n"
