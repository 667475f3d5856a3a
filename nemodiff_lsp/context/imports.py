"""Imports: which names a file takes from which files of the same workspace.

Used by `sources.py`. `imports_of` is pure; `files_of` looks whether files exist, no more.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nemodiff_lsp.context.dialects import Dialect

_MAX_LEVELS = 40
_MAX_FILES_PER_FOLDER = 12
# Imports stand at the top; a notebook or a script may have a few more further down.
_MAX_IMPORT_LINES = 400


@dataclass(frozen=True, slots=True)
class Import:
    """module: as written (``.models``, ``./api``, ``crate::config``, ``example.org/x/store``).

    names: what is taken from it; None when that is not said and everything may be used.
    """

    module: str
    names: frozenset[str] | None


_PYTHON_FROM = re.compile(
    r"^[ \t]*from[ \t]+(?P<module>\.*[\w.]*)[ \t]+import[ \t]+(?P<names>\([^)]*\)|[^\n\\]*)", re.M
)
_PYTHON_IMPORT = re.compile(r"^[ \t]*import[ \t]+(?P<modules>[\w., \t]+)", re.M)
_SCRIPT_IMPORT = re.compile(
    r"(?:^|\n)\s*(?:import|export)\s+(?P<names>[^;'\"]*?)\s*from\s*['\"](?P<module>\.[^'\"]*)['\"]"
)
_SCRIPT_REQUIRE = re.compile(
    r"(?:const|let|var)\s+(?P<names>\{[^}]*\}|[\w$]+)\s*=\s*require\(\s*['\"](?P<module>\.[^'\"]*)"
)
_RUST_USE = re.compile(
    r"^[ \t]*(?:pub[^;\n]*?\s)?use\s+(?P<path>(?:crate|super|self)::[^;]+);", re.M
)
_RUST_MOD = re.compile(r"^[ \t]*(?:pub(?:\([^)]*\))?\s+)?mod\s+(?P<name>\w+)\s*;", re.M)
_GO_IMPORT = re.compile(
    r"^\s*(?:import\s+)?(?:(?P<alias>[\w.]+)\s+)?\"(?P<module>[^\"\s]+)\"", re.M
)
_WORD = re.compile(r"[A-Za-z_$][\w$]*")


def imports_of(text: str, dialect: Dialect) -> list[Import]:
    """The imports of `text` that may lead into the workspace, in order."""
    text = "\n".join(text.split("\n", _MAX_IMPORT_LINES)[:_MAX_IMPORT_LINES])
    return list(_READERS[dialect.family](text))


def _python(text: str) -> Iterator[Import]:
    for match in _PYTHON_FROM.finditer(text):
        listed = re.sub(r"#[^\n]*", "", match["names"]).strip("() \t\n")
        names = [part.split()[0] for part in listed.split(",") if part.split()]
        yield Import(match["module"], None if "*" in names else frozenset(names))
    for match in _PYTHON_IMPORT.finditer(text):
        for part in match["modules"].split(","):
            words = part.split()
            if words:
                alias = words[2] if len(words) == 3 and words[1] == "as" else words[0]
                yield Import(words[0], _members_used(text, alias))


def _script(text: str) -> Iterator[Import]:
    for pattern in (_SCRIPT_IMPORT, _SCRIPT_REQUIRE):
        for match in pattern.finditer(text):
            listed = match["names"]
            namespace = re.search(r"\*\s+as\s+([\w$]+)", listed)
            if namespace is not None:
                yield Import(match["module"], _members_used(text, namespace[1]))
                continue
            parts = re.split(r"[{},]", listed.replace("type ", " "))
            names = frozenset(_WORD.findall(part)[0] for part in parts if _WORD.search(part))
            yield Import(match["module"], names or None)


def _rust(text: str) -> Iterator[Import]:
    for match in _RUST_USE.finditer(text):
        path = re.sub(r"\s+", "", match["path"])
        head, _, group = path.partition("{")
        if group:
            for part in group.rstrip("}").split(","):
                inner = part.strip("{}").split("::")
                module = "::".join([head.rstrip(":"), *inner[:-1]])
                yield Import(module, frozenset({inner[-1].split("as")[0]} - {"", "self"}) or None)
        else:
            module, _, name = path.rpartition("::")
            yield Import(module, None if name == "*" else frozenset({_WORD.findall(name)[0]}))
    for match in _RUST_MOD.finditer(text):
        yield Import(f"self::{match['name']}", _members_used(text, match["name"], "::"))


def _go(text: str) -> Iterator[Import]:
    for match in _GO_IMPORT.finditer(text):
        alias = match["alias"] or match["module"].rsplit("/", 1)[-1]
        if "." in match["module"] and alias != "_":
            yield Import(match["module"], _members_used(text, alias))


def _members_used(text: str, name: str, dot: str = ".") -> frozenset[str]:
    return frozenset(re.findall(rf"\b{re.escape(name)}{re.escape(dot)}(\w+)", text))


_READERS = {"python": _python, "script": _script, "rust": _rust, "go": _go}


def files_of(each: Import, file: Path, folders: Sequence[Path], dialect: Dialect) -> list[Path]:
    """The existing files that `each`, written in `file`, may mean; folders: the workspace's."""
    finder = {
        "python": _python_files,
        "script": _script_files,
        "rust": _rust_files,
        "go": _go_files,
    }[dialect.family]
    return [path for path in finder(each, file, folders) if path.is_file() and path != file]


def _python_files(each: Import, file: Path, folders: Sequence[Path]) -> Iterator[Path]:
    dots = len(each.module) - len(each.module.lstrip("."))
    parts = [part for part in each.module.lstrip(".").split(".") if part]
    if dots:
        bases = [_up(file.parent, dots - 1)]
    else:
        # The folder above the outermost package that holds the file, then the workspace's own.
        bases = [_above_packages(file.parent), *folders, *(folder / "src" for folder in folders)]
    for base in dict.fromkeys(bases):
        target = base.joinpath(*parts)
        if parts:
            yield target.with_name(target.name + ".py")
        yield target / "__init__.py"
        # `from package import module` names files, not definitions.
        for name in sorted(each.names or ()):
            yield target / f"{name}.py"


def _script_files(each: Import, file: Path, folders: Sequence[Path]) -> Iterator[Path]:
    target = Path(os.path.normpath(file.parent / each.module))
    endings = (".ts", ".tsx", ".mts", ".js", ".jsx", ".mjs", ".d.ts")
    yield target
    # TypeScript writes the ending of the file that will be, `./api.js` for api.ts.
    stem = target.with_suffix("") if target.suffix in (".js", ".jsx", ".mjs") else target
    for ending in endings:
        yield stem.with_name(stem.name + ending)
    for ending in endings:
        yield target / f"index{ending}"


def _rust_files(each: Import, file: Path, folders: Sequence[Path]) -> Iterator[Path]:
    first, *parts = each.module.split("::")
    own = file.parent if file.stem in ("mod", "lib", "main") else file.parent / file.stem
    if first == "crate":
        root = _folder_with(file, "Cargo.toml")
        sources = next((folder for folder in file.parents if folder.name == "src"), None)
        bases = [root / "src"] if root else [sources] if sources else []
    else:
        bases = [own.parent if first == "super" else own]
    for base in bases:
        # The last part may be a type in the module that the parts before it name.
        for length in (len(parts), len(parts) - 1):
            if length > 0:
                target = base.joinpath(*parts[:length])
                yield target.with_name(target.name + ".rs")
                yield target / "mod.rs"
    if first != "crate" and not parts:
        yield own.with_name(own.name + ".rs")


def _go_files(each: Import, file: Path, folders: Sequence[Path]) -> Iterator[Path]:
    root = _folder_with(file, "go.mod")
    if root is None:
        return
    try:
        head = (root / "go.mod").read_text("utf-8", "replace")[:2000]
    except OSError:
        return
    module = re.search(r"^module\s+(\S+)", head, re.M)
    if module is None or not (each.module + "/").startswith(module[1] + "/"):
        return
    folder = root / each.module[len(module[1]) :].lstrip("/")
    if folder.is_dir():
        files = sorted(path for path in folder.glob("*.go") if not path.stem.endswith("_test"))
        yield from files[:_MAX_FILES_PER_FOLDER]


def _up(folder: Path, levels: int) -> Path:
    for _ in range(levels):
        folder = folder.parent
    return folder


def _above_packages(folder: Path) -> Path:
    for _ in range(_MAX_LEVELS):
        if not (folder / "__init__.py").is_file():
            break
        folder = folder.parent
    return folder


def _folder_with(file: Path, name: str) -> Path | None:
    return next((folder for folder in file.parents if (folder / name).is_file()), None)
