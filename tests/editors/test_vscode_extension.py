"""The extension without VS Code: its settings are the server's, its own checks and tests pass."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "rigs"))

from get_vscode import EXTENSION, packager_in
from vscode import find_vscode, run_script

VSCODE = find_vscode()
SCRIPT = runpy.run_path(str(EXTENSION / "scripts" / "settings.py"))
PACKAGE: dict[str, Any] = json.loads((EXTENSION / "package.json").read_text(encoding="utf-8"))

needs_node = pytest.mark.skipif(VSCODE is None, reason="Node is not here: run `make rigs`")


def test_the_settings_are_the_servers() -> None:
    """Name, type, bounds and default; run editors/vscode/scripts/settings.py when they differ."""
    assert SCRIPT["updated"](PACKAGE) == PACKAGE
    ours = PACKAGE["contributes"]["configuration"]["properties"]
    for name, value in SCRIPT["server_schema"]()["properties"].items():
        assert ours[f"nemodiff.{name}"]["default"] == value["default"], name


def test_a_difference_is_seen() -> None:
    other = json.loads(json.dumps(PACKAGE))
    other["contributes"]["configuration"]["properties"]["nemodiff.maxTokens"]["default"] = 65
    assert SCRIPT["updated"](other) != other


def test_nothing_is_needed_at_run_time() -> None:
    """What is needed is in the bundle: the client library and its own parts."""
    assert "dependencies" not in PACKAGE
    major, minor, patch = PACKAGE["devDependencies"]["vscode-languageclient"].lstrip("^").split(".")
    assert (int(major), int(minor), int(patch)) >= (10, 0, 1)


def test_the_set_up_installs_the_torch_that_is_tested() -> None:
    install = (EXTENSION / "src" / "logic" / "install.ts").read_text(encoding="utf-8")
    constraints = (EXTENSION.parents[1] / "constraints.txt").read_text(encoding="utf-8")
    (ours,) = re.findall(r"TORCH = '([^']+)'", install)
    assert f"torch=={ours}" in constraints.splitlines()


def test_it_runs_where_the_files_are() -> None:
    assert PACKAGE["extensionKind"] == ["workspace"]
    limited = PACKAGE["capabilities"]["untrustedWorkspaces"]
    assert limited["supported"] == "limited"
    assert "nemodiff.server.command" in limited["restrictedConfigurations"]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The extension's sources beside the tools that the rig has."""
    assert VSCODE is not None
    work = tmp_path_factory.mktemp("extension") / "vscode"
    left_out = shutil.ignore_patterns("node_modules", "dist", "out", "*.vsix")
    shutil.copytree(EXTENSION, work, ignore=left_out)
    (work / "node_modules").symlink_to(packager_in(VSCODE) / "node_modules")
    return work


@needs_node
def test_its_own_tests_pass(copy: Path) -> None:
    assert VSCODE is not None
    run_script(VSCODE, copy, "scripts/build.mjs", "--tests")
    names = sorted(str(path) for path in (copy / "out" / "test").glob("*.test.mjs"))
    report = run_script(VSCODE, copy, "--test", "--test-reporter=tap", *names)
    assert "# fail 0" in report
    assert int(report.split("# pass ")[1].split()[0]) >= 60


@needs_node
@pytest.mark.slow
def test_types_and_style(copy: Path) -> None:
    assert VSCODE is not None
    run_script(VSCODE, copy, "node_modules/typescript/bin/tsc")
    run_script(VSCODE, copy, "node_modules/eslint/bin/eslint.js", ".")
    run_script(VSCODE, copy, "node_modules/prettier/bin/prettier.cjs", "--check", ".")
