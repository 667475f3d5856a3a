"""Short forms of the protocol's messages for the tests of the language server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from lsprotocol import types
from pytest_lsp import LanguageClient

StartClient = Callable[..., Awaitable[LanguageClient]]
"""The fixture `start_client`: starts a language server with an initialized session."""

URI = "file:///project/secret_folder/example.py"


def open_text(client: LanguageClient, text: str, uri: str = URI, version: int = 1) -> None:
    client.text_document_did_open(
        types.DidOpenTextDocumentParams(types.TextDocumentItem(uri, "python", version, text))
    )


def change_text(client: LanguageClient, text: str, version: int, uri: str = URI) -> None:
    client.text_document_did_change(
        types.DidChangeTextDocumentParams(
            types.VersionedTextDocumentIdentifier(version, uri),
            [types.TextDocumentContentChangeWholeDocument(text)],
        )
    )


def inline_params(
    line: int,
    character: int,
    uri: str = URI,
    *,
    is_invoked: bool = False,
    selected: types.SelectedCompletionInfo | None = None,
) -> types.InlineCompletionParams:
    kinds = types.InlineCompletionTriggerKind
    return types.InlineCompletionParams(
        context=types.InlineCompletionContext(
            kinds.Invoked if is_invoked else kinds.Automatic, selected
        ),
        text_document=types.TextDocumentIdentifier(uri),
        position=types.Position(line, character),
    )


async def ask(
    client: LanguageClient, params: types.InlineCompletionParams
) -> types.InlineCompletionList | None:
    """The server's answer, which is never a bare list of items."""
    answer = await client.text_document_inline_completion_async(params)
    assert answer is None or isinstance(answer, types.InlineCompletionList)
    return answer


def texts_of(answer: types.InlineCompletionList | None) -> list[str]:
    assert answer is not None
    texts = [item.insert_text for item in answer.items]
    assert all(isinstance(text, str) for text in texts)
    return [str(text) for text in texts]


def zero_width(line: int, character: int) -> types.Range:
    return types.Range(types.Position(line, character), types.Position(line, character))
