"""Which files of a package are training text, judged by path and by content, with the reason.

Called by `build.py` for each file of an archive; the reasons are counted in report.json.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from engine.training.corpus.licences import COPYLEFT, from_expression

MIN_FILE_BYTES = 64
MAX_FILE_BYTES = 200_000
MAX_LINE_CHARS = 1000
MAX_MEAN_LINE_CHARS = 100

SUFFIXES = {
    ".py": "python",
    ".ts": "typescript",
    ".tsx": "typescript",
    ".mts": "typescript",
    ".cts": "typescript",
    ".js": "javascript",
    ".jsx": "javascript",
    ".mjs": "javascript",
    ".cjs": "javascript",
    ".rs": "rust",
    ".go": "go",
}

_VENDORED = {
    "3rdparty",
    "bower_components",
    "bundled",
    "extern",
    "external",
    "externals",
    "node_modules",
    "site-packages",
    "third_party",
    "third-party",
    "thirdparty",
    "vendor",
    "vendored",
    "vendors",
}
# Where build tools of JavaScript put what they made of the sources.
_BUILT_FOLDERS = {"build", "bundle", "bundles", "cjs", "dist", "es", "esm", "min", "umd"}
_BUILT_NAME = re.compile(r"[.-]min\.[cm]?jsx?$|\.(?:bundle|umd|iife|prod|production)\.[cm]?js$")
_GENERATED_NAME = re.compile(
    r"""_pb2(?:_grpc)?\.py$ | ^(?:parsetab|lextab|yacctab|versioneer|_version)\.py$
    | [._-]generated\.\w+$ | ^generated[._-] | \.gen\.\w+$ | _gen\.go$
    | ^zz_generated | \.pb(?:\.gw)?\.go$ | ^bindata\.go$ | _string\.go$ | _easyjson\.go$
    | ^bindings\.rs$""",
    re.VERBOSE,
)
_GENERATED_FOLDERS = {"generated", "_generated", "__generated__", "gen"}

_HEAD_LINES = 40
_COMMENT = re.compile(r'^\s*(?:#|//|/\*|\*|--|"""|\'\'\'|;)')
_GENERATED_WORDS = re.compile(
    r"auto-?\s?generated|automatically\s+(?:generated|created|produced)|@generated"
    r"|code\s+generated|do\s+not\s+(?:edit|modify|change)\b|don't\s+edit"
    r"|machine[- ]generated|this\s+file\s+(?:is|was|has\s+been)\s+generated"
    r"|^\W*generated\s+(?:by|from|with|using|on)\b",
    re.IGNORECASE,
)
# What compilers and bundlers leave in their JavaScript.
_COMPILED = re.compile(
    r'Object\.defineProperty\(exports, "__esModule"|exports\.__esModule\s*=|__webpack_require__'
    r"|^//[#@] sourceMappingURL=|_interopRequire(?:Default|Wildcard)|_createForOfIteratorHelper"
    r"|\b__(?:awaiter|generator|extends|importDefault|importStar|spreadArray) = \(this\b"
    r"|^var __defProp = Object\.defineProperty|\(function \(global, factory\)",
    re.MULTILINE,
)

_HEADER_CHARS = 3000
_SPDX_LINE = re.compile(r"SPDX-License-Identifier:\s*([^\n*]+?)\s*(?:\*/|-->|\n|$)")

# What remains of the row of a table when these are taken out is `_TABLE_SIGNS`.
_LITERAL = re.compile(
    r"""[rbuRBU]{0,2}"[^"]*"|[rbuRBU]{0,2}'[^']*'|0[xX][\da-fA-F_]+|\d[\w.]*|(?:\#|//).*$"""
)
_TABLE_SIGNS = frozenset(" \t[](){},:;.+-")
_MIN_TABLE_LINES = 40
_MAX_TABLE_SHARE = 0.6
_MAX_DIGIT_SHARE = 0.25


def language_of(path: str) -> str | None:
    """By the name's ending; None for what is no source of the corpus's languages."""
    return SUFFIXES.get(PurePosixPath(path).suffix.lower())


def path_refusal(path: str, ecosystem: str) -> str | None:
    """Why the file `path` (inside its package) is not looked into; None when it is."""
    parts = PurePosixPath(path).parts
    folders = {part.lower() for part in parts[:-1]}
    name = parts[-1].lower()
    if any(folder.lstrip("_") in _VENDORED for folder in folders):
        return "vendored"
    if any(folder.startswith(".") for folder in folders) or name.startswith("."):
        return "hidden"
    if _GENERATED_NAME.search(name) or folders & _GENERATED_FOLDERS:
        return "generated"
    if ecosystem != "npm":
        return None
    if name.endswith((".d.ts", ".d.mts", ".d.cts")):
        return "type declarations"
    is_built = any(folder.lstrip("_") in _BUILT_FOLDERS for folder in folders)
    return "built" if is_built or _BUILT_NAME.search(name) else None


def decoded(data: bytes) -> str | None:
    """The text with line ends as "\\n" and no byte order mark; None for what is not UTF-8 text."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    if "\0" in text:
        return None
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def content_refusal(text: str, language: str) -> str | None:
    """Why a file with this text is dropped; None when it is kept."""
    num_bytes = len(text.encode("utf-8"))
    if num_bytes < MIN_FILE_BYTES:
        return "too small"
    if num_bytes > MAX_FILE_BYTES:
        return "too large"
    lines = text.split("\n")
    if max(map(len, lines)) > MAX_LINE_CHARS:
        return "long lines"
    if len(text) / max(1, text.count("\n")) >= MAX_MEAN_LINE_CHARS:
        return "long lines"
    if has_foreign_licence(text):
        return "foreign licence"
    if _is_generated(lines) or (language == "javascript" and _COMPILED.search(text)):
        return "generated"
    if _is_table(text, lines):
        return "data table"
    return None


def has_foreign_licence(text: str) -> bool:
    """Whether the head of a file names a licence other than the permissive ones."""
    head = text[:_HEADER_CHARS]
    found = _SPDX_LINE.search(head)
    if found is not None:
        return not from_expression(found[1], "header").is_permissive
    # Only comments and docstrings: code that deals with licences is no licence.
    notes = "\n".join(_leading_notes(head))
    return COPYLEFT.search(notes) is not None


def _leading_notes(head: str) -> list[str]:
    """The lines before the first line of code, comments and docstring."""
    notes: list[str] = []
    quote = ""
    for line in head.split("\n"):
        words = line.strip()
        if quote:
            notes.append(line)
            quote = "" if quote in words else quote
        elif not words or words.startswith(("#", "//", "*", "--", ";")):
            notes.append(line)
        elif (opened := re.match(r"[rRbBuU]?(\"\"\"|'''|/\*)", words)) is not None:
            notes.append(line)
            end = {"/*": "*/"}.get(opened[1], opened[1])
            quote = "" if end in words[opened.end() :] else end
        else:
            break
    return notes


def _is_generated(lines: list[str]) -> bool:
    for line in lines[:_HEAD_LINES]:
        is_note = _COMMENT.match(line) is not None
        if is_note and _GENERATED_WORDS.search(_COMMENT.sub("", line)) is not None:
            return True
    return False


def _is_table(text: str, lines: list[str]) -> bool:
    """Mostly digits, or mostly lines of literals."""
    filled = [line for line in lines if line.strip() and not _COMMENT.match(line)]
    if len(filled) < _MIN_TABLE_LINES:
        return False
    num_digits = sum(map(text.count, "0123456789"))
    num_signs = sum(not character.isspace() for character in text)
    if num_digits > _MAX_DIGIT_SHARE * num_signs:
        return True
    num_rows = sum(_TABLE_SIGNS.issuperset(_LITERAL.sub("", line)) for line in filled)
    return num_rows > _MAX_TABLE_SHARE * len(filled)
