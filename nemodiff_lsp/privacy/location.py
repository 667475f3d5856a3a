"""Uris of documents to places on the disk: what `policy.py` judges."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

_FILE_SCHEMES = ("file", "vscode-notebook-cell")
_UNSAVED_SCHEME = "untitled"


@dataclass(frozen=True, slots=True)
class Location:
    """Where a document lies.

    path: absolute and without ``..``, links not followed; None for a document without a place.
    name: the last part of what the uri calls it, empty when it has no name.
    """

    path: str | None
    name: str


def locate_document(uri: str) -> Location | None:
    """The place of the document, or None for a scheme that is no file of the user's.

    A cell of a notebook lies where its notebook lies. Raises ValueError for an unusable uri.
    """
    parts = urlsplit(uri)
    scheme = parts.scheme.lower()
    if scheme not in (*_FILE_SCHEMES, _UNSAVED_SCHEME):
        return None
    if scheme != "file":
        # What stands behind the last # names a cell, not a file.
        parts = urlsplit(uri.rpartition("#")[0] or uri)
    # Not every client encodes these signs, and a folder may be called `c#`.
    query = f"?{parts.query}" if parts.query else ""
    fragment = f"#{parts.fragment}" if parts.fragment else ""
    path = unquote(f"{parts.path}{query}{fragment}", errors="surrogateescape")
    if "\0" in path:
        raise ValueError("a NUL character in a path")
    # A cell in a remote window names the host, which is the one that the server runs on.
    is_remote_cell = scheme == "vscode-notebook-cell" and os.name != "nt"
    has_host = parts.netloc.lower() not in ("", "localhost") and not is_remote_cell
    if has_host and scheme != _UNSAVED_SCHEME:
        # file://host/share/name is a share on Windows; elsewhere nobody can say where it is.
        path = f"//{parts.netloc}{path}"
    if os.name == "nt":
        path = path.removeprefix("/") if path[2:3] == ":" else path
        path = path.replace("/", os.sep)
    name = os.path.basename(path.rstrip("/\\"))
    if os.path.isabs(path):
        return Location(os.path.normpath(path), name)
    return Location(None, name)
