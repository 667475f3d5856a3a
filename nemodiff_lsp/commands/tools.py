"""What several commands do alike: a document frozen if it may be read, an edit sent off."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from lsprotocol import types

from nemodiff_lsp.commands.host import Host
from nemodiff_lsp.documents.edits import DocumentText, can_apply, send_edit


class RefusedError(Exception):
    """A command that cannot do what it is asked; the message is one sentence for the user."""


def readable_document(host: Host, uri: str) -> DocumentText:
    """The open document, frozen. Raises RefusedError when it is not open, or excluded."""
    document = host.open_document(uri)
    if document is None:
        raise RefusedError("The document is not open in the editor.")
    verdict = host.policy.judge(uri, document.source, language_id=document.language_id)
    if not verdict.is_allowed:
        raise RefusedError(verdict.reason)
    return DocumentText.of(document, uri)


def require_unchanged(host: Host, document: DocumentText) -> None:
    """Raises RefusedError when the document is not what it was, or closed."""
    now = host.open_document(document.uri)
    if now is None or now.version != document.version:
        raise RefusedError("The document changed meanwhile; nothing was applied.")


def deliver_edit(host: Host, edit: types.WorkspaceEdit, label: str) -> dict[str, Any]:
    """Have the client apply `edit`; what it cannot apply itself is returned as {edit}."""
    if not can_apply(host.protocol.client_capabilities):
        return {"edit": edit}
    send_edit(
        host.protocol,
        edit,
        label,
        lambda why: host.show(types.MessageType.Warning, f"NemoDiff: {why}"),
    )
    return {}


def path_of(uri: str) -> str:
    """The file name in `uri`, which tells the language where the language id does not."""
    try:
        return PurePosixPath(unquote(urlsplit(uri).path)).name
    except ValueError:
        return ""
