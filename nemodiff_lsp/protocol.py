"""What pygls 2.1 leaves open in the protocol: unreadable requests, late requests, book-keeping.

Used by `server.py` when it builds the language server.
"""

from __future__ import annotations

from typing import Any

import cattrs
from lsprotocol import types
from pygls.exceptions import JsonRpcException, JsonRpcInvalidRequest
from pygls.protocol import LanguageServerProtocol, default_converter


class NemoDiffProtocol(LanguageServerProtocol):
    """pygls' protocol, except that every request gets an answer and nothing piles up."""

    def structure_message(self, data: dict[str, Any]) -> Any:
        """As in pygls; a request that cannot be read is answered instead of left hanging."""
        try:
            return super().structure_message(data)
        except JsonRpcException as error:
            if "method" in data and isinstance(data.get("id"), (int, str)):
                self._send_response(data["id"], error=error.to_response_error())
            raise

    def handle_message(self, message: Any) -> None:
        """As in pygls; a request after ``shutdown`` is refused instead of left hanging."""
        if self._shutdown and hasattr(message, "id") and hasattr(message, "method"):
            refusal = JsonRpcInvalidRequest("The server has been shut down.")
            self._send_response(message.id, error=refusal.to_response_error())
            return
        super().handle_message(message)

    def _handle_notification(self, method_name: str, params: Any) -> None:
        super()._handle_notification(method_name, params)
        # pygls keeps the future of each notification for ever: one per keystroke.
        for msg_id, future in list(self._request_futures.items()):
            if future.done():
                self._request_futures.pop(msg_id, None)


def make_converter() -> cattrs.Converter:
    """pygls' converter, taught the trigger kinds that clients send beside the specified ones.

    vscode-languageclient up to 9.0.1 forwards VS Code's own numbers, where Invoke is 0.
    """
    converter: cattrs.Converter = default_converter()  # type: ignore[no-untyped-call]
    converter.register_structure_hook(
        types.InlineCompletionTriggerKind, lambda value, _: _trigger_kind(value)
    )
    return converter


def _trigger_kind(value: object) -> types.InlineCompletionTriggerKind:
    if value in (0, types.InlineCompletionTriggerKind.Invoked.value):
        return types.InlineCompletionTriggerKind.Invoked
    return types.InlineCompletionTriggerKind.Automatic
