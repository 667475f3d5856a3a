"""What a language server imports before its first reply: little, since the editor waits for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from raw_server import RawServer, arguments_for

# What is needed only by a first completion, by the engine, or never.
HEAVY = {
    "torch",
    "numpy",
    "transformers",
    "tokenizers",
    "safetensors",
    "httpx",
    "httpcore",
    "rich",
    "starlette",
    "uvicorn",
    "filelock",
    "tree_sitter",
    "tree_sitter_python",
    "matplotlib",
    "sqlite3",
}

LEAN = """
import attrs
define = attrs.define
from nemodiff_lsp.completion.lean_types import load_lean_types
load_lean_types()
load_lean_types()
from lsprotocol import types
assert attrs.define is define
assert types.Position(1, 2) == types.Position(1, 2) != types.Position(2, 1)
assert "secret" not in repr(types.InlineCompletionItem(insert_text="secret"))
@attrs.define
class Own:
    x: int
assert repr(Own(1)) == "Own(x=1)"
"""


def test_initialize_is_answered_before_anything_heavy_is_imported(socket_path: Path) -> None:
    program = ("-X", "importtime", "-m", "nemodiff_lsp")
    with RawServer(*arguments_for(socket_path), program=program) as server:
        params = {"processId": None, "rootUri": None, "capabilities": {}}
        assert "capabilities" in server.request("initialize", params, 1)["result"]
        server.process.kill()
        server.process.wait(60)
        lines = [line.split("|") for line in server.stderr().splitlines() if line.count("|") == 2]
    imported = {line[2].strip().partition(".")[0] for line in lines}
    assert {"pygls", "lsprotocol", "nemodiff_lsp"} <= imported, "these it cannot do without"
    assert not imported & HEAVY


def test_lean_types_are_the_protocols_types_but_for_their_repr() -> None:
    subprocess.run([sys.executable, "-c", LEAN], check=True, timeout=120)
