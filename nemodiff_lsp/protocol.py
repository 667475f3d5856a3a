"""What pygls 2.1 leaves open in the protocol: unreadable, early and late requests, book-keeping.

Used by `server.py` when it builds the language server.
"""

from __future__ import annotations

from typing import Any

import cattrs
from lsprotocol import types
from pygls.exceptions import (
    JsonRpcException,
    JsonRpcInvalidRequest,
    JsonRpcServerNotInitialized,
)
from pygls.protocol import LanguageServerProtocol, default_converter


class NemoDiffProtocol(LanguageServerProtocol):
    """pygls' protocol, except that every request gets an answer and nothing piles up."""

    has_shutdown_arrived = False
    """Whether the client has said ``shutdown``, as it must before ``exit``."""

    def structure_message(self, data: dict[str, Any]) -> Any:
        """As in pygls; a request that cannot be read is answered instead of left hanging."""
        try:
            return super().structure_message(data)
        except JsonRpcException as error:
            if "method" in data and isinstance(data.get("id"), (int, str)):
                self._send_response(data["id"], error=error.to_response_error())
            raise

    def handle_message(self, message: Any) -> None:
        """As in pygls, but out of order a request is refused and a notification dropped."""
        method = getattr(message, "method", None)
        refusal: JsonRpcException | None = None
        if self._shutdown and method != types.EXIT:
            refusal = JsonRpcInvalidRequest("The server has been shut down.")
        elif self._workspace is None and method not in (None, types.INITIALIZE, types.EXIT):
            refusal = JsonRpcServerNotInitialized("The server has not been initialized.")
        elif method == types.SHUTDOWN:
            self.has_shutdown_arrived = True
        if refusal is None:
            super().handle_message(message)
        elif method is not None and hasattr(message, "id"):
            self._send_response(message.id, error=refusal.to_response_error())

    def _handle_notification(self, method_name: str, params: Any) -> None:
        super()._handle_notification(method_name, params)
        # pygls keeps the future of each notification for ever: one per keystroke.
        for msg_id, future in list(self._request_futures.items()):
            if future.done():
                self._request_futures.pop(msg_id, None)


def make_converter() -> cattrs.Converter:
    """pygls' converter, taught what clients send beside the specified trigger kinds and contexts.

    vscode-languageclient up to 9.0.1 forwards VS Code's own numbers, where Invoke is 0.
    """
    converter: cattrs.Converter = default_converter()  # type: ignore[no-untyped-call]
    converter.register_structure_hook(
        types.InlineCompletionTriggerKind, lambda value, _: _trigger_kind(value)
    )
    structure = converter.get_structure_hook(types.InlineCompletionParams)
    converter.register_structure_hook(
        types.InlineCompletionParams, lambda value, kind: structure(_with_context(value), kind)
    )
    return converter


def _with_context(params: object) -> object:
    """`params` with a full context: a client that leaves it or its kind out asks by itself."""
    if not isinstance(params, dict):
        return params
    automatic = {"triggerKind": types.InlineCompletionTriggerKind.Automatic.value}
    return {**params, "context": {**automatic, **(params.get("context") or {})}}


def _trigger_kind(value: object) -> types.InlineCompletionTriggerKind:
    if value in (0, types.InlineCompletionTriggerKind.Invoked.value):
        return types.InlineCompletionTriggerKind.Invoked
    return types.InlineCompletionTriggerKind.Automatic
