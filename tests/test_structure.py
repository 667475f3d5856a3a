"""docs/structure.md is a map: every file on it exists, and no module is missing from it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
MAP = (ROOT / "docs" / "structure.md").read_text(encoding="utf-8")


def named() -> set[str]:
    return set(re.findall(r"`((?:engine|nemodiff_lsp|tests|docs)/[^`\s]*)`", MAP))


def test_every_named_file_exists() -> None:
    assert len(named()) > 40
    missing = [name for name in named() if not (ROOT / name).exists()]
    assert not missing


def test_no_module_is_left_out() -> None:
    folders = {name.rstrip("/") for name in named() if name.endswith("/")}
    modules = [
        path.relative_to(ROOT).as_posix()
        for package in ("engine", "nemodiff_lsp")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py"
    ]
    left_out = [
        module
        for module in modules
        if module not in named() and not any(module.startswith(f"{f}/") for f in folders)
    ]
    assert not left_out


def test_readme_links_exist() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = [t for t in re.findall(r"\]\(([^)#]+)\)", readme) if "://" not in t]
    assert targets
    assert all((ROOT / target).exists() for target in targets)
