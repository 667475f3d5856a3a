"""What clients of Copilot's language server send beside the standard: told, asked and answered.

`register` adds it to the language server. Nobody has to sign in here, so whoever asks is told that
they are; what is told about shown and taken items goes to the statistics. Parameters come as
objects with attributes, of any shape: what cannot be read is ignored.
"""

from __future__ import annotations

import platform
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any
from uuid import uuid4

from lsprotocol import types

from engine import __version__
from nemodiff_lsp.commands.host import Host
from nemodiff_lsp.documents.edits import DocumentText

USER = "local"
_SIGNED_IN = {"status": "OK", "user": USER}
_ALREADY_SIGNED_IN = {"status": "AlreadySignedIn", "user": USER}

Complete = Callable[[types.InlineCompletionParams], Awaitable[Any]]

_MAX_REMEMBERED = 256


class Copilot:
    """Copilot's messages for one server. complete: the handler of textDocument/inlineCompletion."""

    def __init__(self, host: Host, complete: Complete) -> None:
        self._host = host
        self._complete = complete
        # Id of an item that was shown by the old protocol to its length, for what is told of it.
        self._num_chars: dict[str, int] = {}

    # Told.

    def did_focus(self, params: object) -> None:
        uri = _text(params, "textDocument", "uri")
        document = self._host.open_document(uri) if uri else None
        if document is None:
            return
        verdict = self._host.policy.judge(uri, document.source, language_id=document.language_id)
        self._host.status.rest()
        if verdict.is_allowed:
            self._host.focused(uri)
        else:
            self._host.status.set_state("excluded", verdict.reason)

    def did_show(self, params: object) -> None:
        offer_id, inserted = _id_of(_get(params, "item")), _inserted(_get(params, "item"))
        if offer_id:
            self._host.recorder.shown(offer_id, len(inserted), None)

    def did_partly_accept(self, params: object) -> None:
        """acceptedLength: UTF-16 units from the start of the item's text, all accepts together."""
        offer_id, inserted = _id_of(_get(params, "item")), _inserted(_get(params, "item"))
        num_units = _get(params, "acceptedLength")
        if offer_id and isinstance(num_units, int) and num_units > 0:
            taken = _first_units(inserted, num_units)
            self._host.recorder.partly_accepted(offer_id, len(taken) if inserted else num_units)

    # Asked.

    def check_status(self, params: object) -> dict[str, str]:
        return dict(_SIGNED_IN)

    def sign_in(self, params: object) -> dict[str, str]:
        return dict(_ALREADY_SIGNED_IN)

    def sign_out(self, params: object) -> dict[str, str]:
        # There is nothing to sign out of; the client only wants to go on.
        return {"status": "NotSignedIn"}

    def version(self, params: object) -> dict[str, str]:
        return {
            "version": __version__,
            "buildType": "prod",
            "runtimeVersion": f"python/{platform.python_version()}",
        }

    def ok(self, params: object) -> str:
        return "OK"

    async def panel(self, params: object) -> dict[str, Any]:
        """textDocument/copilotPanelCompletion: several alternatives, at once or as progress."""
        asked = _inline_params(_text(params, "textDocument", "uri"), _get(params, "position"))
        items = [] if asked is None else _items_of(await self._complete(asked))
        answer = {"items": items}
        token = _get(params, "partialResultToken")
        if token is None:
            return answer
        # What has been sent as progress must not be sent again.
        self._host.protocol.notify(types.PROGRESS, types.ProgressParams(token=token, value=answer))
        return {"items": []}

    async def completions(self, params: object) -> dict[str, Any]:
        """getCompletions, of before there was a standard."""
        return await self._old_answer(params, types.InlineCompletionTriggerKind.Automatic)

    async def completions_cycling(self, params: object) -> dict[str, Any]:
        """getCompletionsCycling: several of them."""
        return await self._old_answer(params, types.InlineCompletionTriggerKind.Invoked)

    def notify_shown(self, params: object) -> str:
        offer_id = _text(params, "uuid")
        if offer_id in self._num_chars:
            self._host.recorder.shown(offer_id, self._num_chars[offer_id], None)
        return "OK"

    def notify_accepted(self, params: object) -> str:
        offer_id = _text(params, "uuid")
        taken = _get(params, "acceptedLength")
        whole = self._num_chars.get(offer_id)
        if whole is not None and isinstance(taken, int) and 0 < taken < whole:
            self._host.recorder.partly_accepted(offer_id, taken)
        elif whole is not None:
            self._host.recorder.accepted(offer_id, whole)
        return "OK"

    def notify_rejected(self, params: object) -> str:
        uuids = _get(params, "uuids")
        for offer_id in uuids if isinstance(uuids, (list, tuple)) else ():
            if isinstance(offer_id, str) and self._num_chars.pop(offer_id, None) is not None:
                self._host.recorder.dismissed(offer_id)
        return "OK"

    async def _old_answer(
        self, params: object, trigger: types.InlineCompletionTriggerKind
    ) -> dict[str, Any]:
        asked = _inline_params(
            _text(params, "doc", "uri"), _get(params, "doc", "position"), trigger
        )
        items = [] if asked is None else _items_of(await self._complete(asked))
        return {
            "completions": [
                self._old_completion(item, asked, _get(params, "doc", "version"))
                for item in items
                if asked is not None
            ]
        }

    def _old_completion(
        self, item: types.InlineCompletionItem, asked: types.InlineCompletionParams, version: object
    ) -> dict[str, Any]:
        uri = asked.text_document.uri
        live = self._host.open_document(uri)
        document = None if live is None else DocumentText.of(live, uri)
        shown = before = _inserted(item)
        start = asked.position
        if document is not None:
            # Its clients replace the line up to the cursor.
            cursor = document.offset_of(asked.position)
            first = cursor if item.range is None else document.offset_of(item.range.start)
            line = document.text.rfind("\n", 0, cursor) + 1
            shown = before[max(0, cursor - first) :]
            before = document.text[line:first] + before
            start = document.position_of(line)
        offer_id = _id_of(item) or uuid4().hex
        self._num_chars[offer_id] = len(shown)
        while len(self._num_chars) > _MAX_REMEMBERED:
            del self._num_chars[next(iter(self._num_chars))]
        return {
            "uuid": offer_id,
            "text": before,
            "displayText": shown,
            "range": types.Range(start, asked.position),
            "position": asked.position,
            "docVersion": version,
        }


def register(server: Host) -> Copilot:
    """Add Copilot's notifications and requests to `server`."""
    features = server.protocol.fm.features

    async def complete(params: types.InlineCompletionParams) -> Any:
        return await features[types.TEXT_DOCUMENT_INLINE_COMPLETION](params)

    copilot = Copilot(server, complete)
    handlers: dict[str, Callable[[object], Any]] = {
        "textDocument/didFocus": copilot.did_focus,
        "textDocument/didShowCompletion": copilot.did_show,
        "textDocument/didPartiallyAcceptCompletion": copilot.did_partly_accept,
        "textDocument/copilotPanelCompletion": copilot.panel,
        "checkStatus": copilot.check_status,
        "signIn": copilot.sign_in,
        "signInInitiate": copilot.sign_in,
        "signInConfirm": copilot.check_status,
        "signOut": copilot.sign_out,
        "getVersion": copilot.version,
        "setEditorInfo": copilot.ok,
        "getCompletions": copilot.completions,
        "getCompletionsCycling": copilot.completions_cycling,
        "notifyShown": copilot.notify_shown,
        "notifyAccepted": copilot.notify_accepted,
        "notifyRejected": copilot.notify_rejected,
    }
    for method, handler in handlers.items():
        # pygls writes attributes to a handler, which a method cannot hold.
        server.protocol.fm.feature(method)(partial(handler))
    return copilot


def _get(value: object, *names: str) -> Any:
    """The part of a parameter under `names`, whatever it is made of; None where it ends."""
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
    return value


def _text(value: object, *names: str) -> str:
    found = _get(value, *names)
    return found if isinstance(found, str) else ""


def _id_of(item: object) -> str:
    """The id that the item's command carries; empty when there is none."""
    arguments = _get(item, "command", "arguments")
    if not isinstance(arguments, (list, tuple)) or not arguments:
        return ""
    return arguments[0] if isinstance(arguments[0], str) else ""


def _inserted(item: object) -> str:
    for name in ("insertText", "insert_text"):
        found = _get(item, name)
        found = found if isinstance(found, str) else _get(found, "value")
        if isinstance(found, str):
            return found
    return ""


def _first_units(text: str, num_units: int) -> str:
    """As much of `text` as fits into so many UTF-16 units, whole characters only."""
    encoded = text.encode("utf-16-le", "surrogatepass")[: 2 * num_units]
    return encoded.decode("utf-16-le", "ignore")


def _inline_params(
    uri: str,
    position: object,
    trigger: types.InlineCompletionTriggerKind = types.InlineCompletionTriggerKind.Invoked,
) -> types.InlineCompletionParams | None:
    """A standard request for the place; None when the parameters name none."""
    line, character = _get(position, "line"), _get(position, "character")
    is_place = all(
        isinstance(each, int) and not isinstance(each, bool) for each in (line, character)
    )
    if not uri or not is_place:
        return None
    return types.InlineCompletionParams(
        context=types.InlineCompletionContext(trigger),
        text_document=types.TextDocumentIdentifier(uri),
        position=types.Position(max(0, line), max(0, character)),
    )


def _items_of(answer: object) -> list[types.InlineCompletionItem]:
    return list(answer.items) if isinstance(answer, types.InlineCompletionList) else []
