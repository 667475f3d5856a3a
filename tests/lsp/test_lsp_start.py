"""What a language server imports before its first reply: little, since the editor waits for it."""

from __future__ import annotations

import json
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

# Of our own what belongs to a completion or a command.
LATER = ("nemodiff_lsp.finishing", "nemodiff_lsp.holes", "nemodiff_lsp.commands.repairs")

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

# All that the types are to those who use them.
TYPES = """
import attrs, json
from lsprotocol import converters, types
converter = converters.get_converter()
found = {}
for name, kind in sorted(vars(types).items()):
    if isinstance(kind, type) and attrs.has(kind):
        fields = [(f.name, str(f.type), repr(f.default), f.init) for f in attrs.fields(kind)]
        found[name] = [fields, kind.__hash__ is None]
        if all(field.default is not attrs.NOTHING for field in attrs.fields(kind)):
            one, other = kind(), kind()
            found[name] += [one == other, one != other, one == 3, str(converter.unstructure(one))]
near, far = types.Position(0, 1), types.Position(3, 1)
ranges = [types.Range(near, near), types.Range(near, far), types.Range(near, near)]
found["equal"] = [[one == other for one in ranges] for other in ranges]
found["order"] = [near < far, near > far]
try:
    types.Position(-1, 0)
except ValueError:
    found["checked"] = True
print(json.dumps(found))
"""
LOAD = "from nemodiff_lsp.completion.lean_types import load_lean_types\nload_lean_types()\n"


def test_initialize_is_answered_before_anything_heavy_is_imported(socket_path: Path) -> None:
    program = ("-X", "importtime", "-m", "nemodiff_lsp")
    with RawServer(*arguments_for(socket_path), program=program) as server:
        params = {"processId": None, "rootUri": None, "capabilities": {}}
        assert "capabilities" in server.request("initialize", params, 1)["result"]
        server.process.kill()
        server.process.wait(60)
        lines = [line.split("|") for line in server.stderr().splitlines() if line.count("|") == 2]
    modules = {line[2].strip() for line in lines}
    imported = {module.partition(".")[0] for module in modules}
    assert {"pygls", "lsprotocol", "nemodiff_lsp"} <= imported, "these it cannot do without"
    assert not imported & HEAVY
    assert "nemodiff_lsp.completion.completion" in modules
    assert not [module for module in modules if module.startswith(LATER)]


def test_lean_types_are_the_protocols_types_but_for_their_repr() -> None:
    subprocess.run([sys.executable, "-c", LEAN], check=True, timeout=120)


def test_lean_types_are_to_their_users_what_the_plain_ones_are() -> None:
    plain, lean = (
        json.loads(subprocess.check_output([sys.executable, "-c", program], timeout=120))
        for program in (TYPES, LOAD + TYPES)
    )
    assert len(plain) > 500
    assert plain["checked"]
    assert lean == plain
