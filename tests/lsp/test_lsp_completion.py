"""Inline completion over real stdio against the fake engine: what is asked and what is answered."""

from __future__ import annotations

import asyncio
import re

import pytest
from documents import StartClient, ask, change_text, inline_params, open_text, texts_of, zero_width
from fake_engine import Answer, FakeEngine
from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pytest_lsp import LanguageClient

INVOKED = {"is_invoked": True}
SOURCE = "def add(a, b):\n    return \n\nprint(add(1, 2))\n"


async def test_capabilities_are_announced(start_client: StartClient, engine: FakeEngine) -> None:
    """pygls leaves inlineCompletionProvider out when the feature has no options object."""
    client = await start_client()
    params = types.InitializeParams(capabilities=types.ClientCapabilities())
    capabilities = (await client.initialize_async(params)).capabilities
    assert capabilities.inline_completion_provider == types.InlineCompletionOptions()
    sync = capabilities.text_document_sync
    assert isinstance(sync, types.TextDocumentSyncOptions)
    assert sync.change is types.TextDocumentSyncKind.Incremental
    assert sync.open_close is True


async def test_the_hole_at_the_cursor_is_asked_for(
    client: LanguageClient, engine: FakeEngine
) -> None:
    engine.default = Answer(texts=("a + b",))
    open_text(client, SOURCE)
    answer = await ask(client, inline_params(1, 11))
    assert texts_of(answer) == ["a + b"]
    assert answer is not None
    assert answer.items[0].range == zero_width(1, 11)
    (request,) = engine.requests
    assert request.prompt == "def add(a, b):\n    return "
    assert request.suffix == "\n\nprint(add(1, 2))\n"
    assert (request.n, request.mode, request.stream, request.gate) == (1, "auto", False, True)


async def test_no_path_leaves_the_process(client: LanguageClient, engine: FakeEngine) -> None:
    """The document id is opaque, equal for one document and different for another one."""
    other = "file:///project/secret_folder/other.py"
    open_text(client, SOURCE)
    open_text(client, SOURCE, uri=other)
    for uri_params in (inline_params(1, 11), inline_params(1, 10), inline_params(1, 11, other)):
        await ask(client, uri_params)
    first, again, second = (request.document for request in engine.requests)
    assert first == again != second
    for request in engine.requests:
        assert "secret_folder" not in str(request.to_json())


async def test_a_key_asks_for_three_distinct_alternatives_best_first(
    client: LanguageClient, engine: FakeEngine
) -> None:
    engine.default = Answer(texts=("b + a", "a + b", "b + a  "))
    open_text(client, SOURCE)
    answer = await ask(client, inline_params(1, 11, is_invoked=True))
    # Who asks by a key is shown what there is.
    assert (engine.requests[0].n, engine.requests[0].gate) == (3, False)
    assert texts_of(answer) == ["b + a", "a + b"]


async def test_an_edit_is_seen_by_the_next_request(
    client: LanguageClient, engine: FakeEngine
) -> None:
    open_text(client, SOURCE)
    change_text(client, SOURCE.replace("return ", "return a"), version=2)
    await ask(client, inline_params(1, 12))
    assert engine.requests[0].prompt.endswith("    return a")


@pytest.mark.parametrize(
    ("text", "line", "character", "newline", "prompt", "suffix"),
    [
        ("if x:\r\n    \r\ny\r\n", 1, 4, "\r\n", "if x:\n    ", "\ny\n"),
        ("if x:\r    \ry\r", 1, 4, "\r", "if x:\n    ", "\ny\n"),
        ("if x:\n    \ny", 1, 4, "\n", "if x:\n    ", "\ny"),
        ("", 0, 0, "\n", "", ""),
        ("\ty = ", 0, 5, "\n", "\ty = ", ""),
        # Beyond the end of a line is its end, beyond the end of the text is its end.
        ("a\r\nb\r\n", 0, 99, "\r\n", "a", "\nb\n"),
        ("a\nb", 9, 9, "\n", "a\nb", ""),
    ],
)
async def test_line_ends_are_the_documents_own(
    client: LanguageClient,
    engine: FakeEngine,
    text: str,
    line: int,
    character: int,
    newline: str,
    prompt: str,
    suffix: str,
) -> None:
    engine.default = Answer(texts=("one(\n)",))
    open_text(client, text)
    (inserted,) = texts_of(await ask(client, inline_params(line, character, is_invoked=True)))
    assert re.findall(r"\r\n|\r|\n", inserted) == [newline]
    assert (engine.requests[0].prompt, engine.requests[0].suffix) == (prompt, suffix)


@pytest.mark.parametrize(
    ("encoding", "character"), [("utf-8", 4 + 4 + 3), ("utf-16", 4 + 2 + 3), ("utf-32", 4 + 1 + 3)]
)
async def test_positions_count_the_units_that_were_agreed(
    start_client: StartClient, engine: FakeEngine, encoding: str, character: int
) -> None:
    client = await start_client(encodings=[types.PositionEncodingKind(encoding)])
    open_text(client, 'x\nx ="\U0001f600" +  # end\n')
    answer = await ask(client, inline_params(1, character))
    assert engine.requests[0].prompt == 'x\nx ="\U0001f600" +'
    assert answer is not None
    assert answer.items[0].range == zero_width(1, character)


async def test_half_a_surrogate_pair_reaches_the_engine_as_text(
    client: LanguageClient, engine: FakeEngine
) -> None:
    open_text(client, "x = '\ud83d'\ny = ")
    assert texts_of(await ask(client, inline_params(1, 4))) == ["pass"]
    assert engine.requests[0].prompt == "x = '\ufffd'\ny = "


async def test_huge_files_send_a_window_that_stays_put(
    client: LanguageClient, engine: FakeEngine
) -> None:
    """The start of the window must not move with each key, or no prompt could be cached."""
    lines = [f"value_{number} = {number}" for number in range(20_000)]
    text = "\n".join(lines)
    open_text(client, text)
    await ask(client, inline_params(10_000, 5))
    typed = "value_and_more" * 20
    lines[10_000] = typed + lines[10_000]
    change_text(client, "\n".join(lines), version=2)
    await ask(client, inline_params(10_000, len(typed)))
    before, after = engine.requests
    assert 12_000 - 30 <= len(before.prompt) <= 16_000
    assert 4_000 - 30 <= len(before.suffix) <= 4_000
    assert before.prompt.startswith("value_") and before.suffix.endswith("\n")
    assert after.prompt == before.prompt.removesuffix("value") + typed


async def test_a_selected_completion_is_continued(
    client: LanguageClient, engine: FakeEngine
) -> None:
    engine.default = Answer(texts=("(value)", ""))
    open_text(client, "x = pri\ny = 2\n")
    selected_range = types.Range(types.Position(0, 4), types.Position(0, 7))
    selected = types.SelectedCompletionInfo(selected_range, "print")
    params = inline_params(0, 7, is_invoked=True, selected=selected)
    answer = await ask(client, params)
    assert texts_of(answer) == ["print(value)"]
    assert answer is not None
    assert answer.items[0].range == selected_range
    assert engine.requests[0].prompt == "x = print"
    assert engine.requests[0].suffix == "\ny = 2\n"


@pytest.mark.parametrize("texts", [("",), (" \n  ",), ("\t",), ("\u00a0\r\n",), ()])
async def test_nothing_to_show_is_an_empty_list(
    client: LanguageClient, engine: FakeEngine, texts: tuple[str, ...]
) -> None:
    """Neovim keeps old ghost text on null and clears it on an empty list."""
    engine.default = Answer(texts=texts)
    open_text(client, SOURCE)
    answer = await ask(client, inline_params(1, 11))
    assert answer is not None
    assert len(answer.items) == 0


async def test_white_space_is_not_offered_among_alternatives(
    client: LanguageClient, engine: FakeEngine
) -> None:
    engine.default = Answer(texts=("  ", "a + b", "\n\t"))
    open_text(client, SOURCE)
    assert texts_of(await ask(client, inline_params(1, 11, is_invoked=True))) == ["a + b"]


async def test_white_space_after_a_selected_completion_is_not_offered(
    client: LanguageClient, engine: FakeEngine
) -> None:
    engine.default = Answer(texts=("  ",))
    open_text(client, "x = pri\n")
    selected_range = types.Range(types.Position(0, 4), types.Position(0, 7))
    selected = types.SelectedCompletionInfo(selected_range, "print")
    assert texts_of(await ask(client, inline_params(0, 7, selected=selected))) == []


async def test_a_document_that_is_not_open_gets_an_empty_list(
    client: LanguageClient, engine: FakeEngine
) -> None:
    answer = await ask(client, inline_params(0, 0, uri="file:///etc/hostname"))
    assert answer is not None and len(answer.items) == 0
    assert engine.requests == []


async def test_a_newer_request_supersedes_the_older_one(
    client: LanguageClient, engine: FakeEngine
) -> None:
    """Neovim does not cancel: the server must, and the older request answers null."""
    engine.script.extend([Answer(texts=("old",), is_held=True), Answer(texts=("new",))])
    open_text(client, SOURCE)
    older = asyncio.ensure_future(ask(client, inline_params(1, 11)))
    await engine.until(lambda: len(engine.requests) == 1)
    assert texts_of(await ask(client, inline_params(1, 11))) == ["new"]
    assert await older is None
    await engine.until(lambda: engine.disconnected == engine.requests[:1])


async def test_documents_do_not_disturb_each_other(
    client: LanguageClient, engine: FakeEngine
) -> None:
    uris = [f"file:///project/file_{number}.py" for number in range(8)]
    engine.default = Answer(texts=("a + b",), is_held=True)
    for uri in uris:
        open_text(client, SOURCE, uri=uri)
    asked = [asyncio.ensure_future(ask(client, inline_params(1, 11, uri=uri))) for uri in uris]
    await engine.until(lambda: len(engine.requests) == len(uris))
    engine.release()
    assert [texts_of(answer) for answer in await asyncio.gather(*asked)] == [["a + b"]] * len(uris)
    assert engine.disconnected == []
    assert len({request.document for request in engine.requests}) == len(uris)


async def test_cancelling_closes_the_engines_connection(
    client: LanguageClient, engine: FakeEngine
) -> None:
    engine.default = Answer(is_held=True)
    open_text(client, SOURCE)
    request = client.protocol.send_request_async(
        types.TEXT_DOCUMENT_INLINE_COMPLETION, inline_params(1, 11), msg_id="to-cancel"
    )
    answer = asyncio.ensure_future(request)
    await engine.until(lambda: len(engine.requests) == 1)
    client.cancel_request(types.CancelParams(id="to-cancel"))
    with pytest.raises(JsonRpcException) as caught:
        await answer
    assert caught.value.code == -32800
    await engine.until(lambda: len(engine.disconnected) == 1)


@pytest.mark.parametrize("how", ["edit", "close", "reopen"])
async def test_a_stale_answer_is_null_and_frees_the_engine(
    client: LanguageClient, engine: FakeEngine, how: str
) -> None:
    engine.default = Answer(is_held=True)
    open_text(client, SOURCE)
    answer = asyncio.ensure_future(ask(client, inline_params(1, 11)))
    await engine.until(lambda: len(engine.requests) == 1)
    if how == "edit":
        change_text(client, SOURCE + "\n", version=2)
    elif how == "reopen":
        open_text(client, "", version=1)
    else:
        identifier = types.TextDocumentIdentifier("file:///project/secret_folder/example.py")
        client.text_document_did_close(types.DidCloseTextDocumentParams(identifier))
    assert await answer is None
    await engine.until(lambda: len(engine.disconnected) == 1)
