"""What single clients need: a menu in place of ghost text, notebooks, Copilot's fields."""

from __future__ import annotations

from typing import Any

import pytest
from in_process import INLINE, URI, Session, whole

MENU = "textDocument/completion"
NOTEBOOK = "file:///project/book.ipynb"


async def started(client: str, answer: str, capabilities: Any = None, **options: Any) -> Session:
    session = Session(client, options, whole(answer))
    await session.initialize(capabilities)
    return session


async def test_helix_gets_one_item_of_the_menu() -> None:
    capabilities = {"textDocument": {"completion": {}}}
    session = Session("helix", {}, whole("nt(value)"))
    answer = await session.initialize(capabilities)
    assert "completionProvider" in answer["result"]["capabilities"]
    session.open("x = pri\n", language_id="python")
    params = {"textDocument": {"uri": URI}, "position": {"line": 0, "character": 7}}
    result = (await session.reply(session.request(MENU, params)))["result"]
    (item,) = result["items"]
    assert result["isIncomplete"] is True
    assert item["preselect"] is True and item["sortText"] < "!"
    # The menu filters by the word that is typed, so the item replaces it.
    assert item["textEdit"] == {
        "newText": "print(value)",
        "range": {"start": {"line": 0, "character": 4}, "end": {"line": 0, "character": 7}},
    }
    assert item["filterText"] == item["label"] == "print(value)"


async def test_a_menu_for_a_text_that_has_changed_in_the_same_read_is_null() -> None:
    session = Session("helix", {}, whole("nt(value)"))
    await session.initialize({"textDocument": {"completion": {}}})
    session.open("x = pri\n", language_id="python")
    params = {"textDocument": {"uri": URI}, "position": {"line": 0, "character": 7}}
    asked = session.request(MENU, params)
    session.type(0, "import os\n")
    assert (await session.reply(asked))["result"] is None


async def test_clients_with_inline_completion_get_no_menu() -> None:
    capabilities = {"textDocument": {"completion": {}, "inlineCompletion": {}}}
    session = Session("Neovim", {}, whole("x"))
    answer = (await session.initialize(capabilities))["result"]["capabilities"]
    assert "completionProvider" not in answer
    assert answer["inlineCompletionProvider"] == {}
    assert answer["textDocumentSync"]["change"] == 2


@pytest.mark.parametrize(("client", "has_command"), [("Neovim", True), ("LSP4IJ", False)])
async def test_an_item_has_a_command_where_the_client_runs_it(
    client: str, has_command: bool
) -> None:
    session = await started(client, "value")
    session.open("x = ", language_id="python")
    answer = await session.reply(session.ask(4))
    (item,) = answer["result"]["items"]
    assert ("command" in item) is has_command
    assert item["range"]["start"] == item["range"]["end"]


async def test_the_buffers_own_indentation_is_used() -> None:
    session = await started("copilot.el", "if a:\n        b()\n        c()")
    session.open("def f(a, b, c):\n\t", language_id="python")
    params = {
        "textDocument": {"uri": URI, "version": 1},
        "position": {"line": 1, "character": 1},
        "context": {"triggerKind": 1},
        "formattingOptions": {"tabSize": 4, "insertSpaces": False},
    }
    answer = await session.reply(session.request(INLINE, params))
    assert [item["insertText"] for item in answer["result"]["items"]] == ["if a:\n\t\tb()\n\t\tc()"]


async def test_a_request_for_another_version_is_stale() -> None:
    session = await started("copilot.el", "value")
    session.open("x = ", language_id="python")
    for version, is_stale in ((1, False), (2, True), (0, True)):
        params = {
            "textDocument": {"uri": URI, "version": version},
            "position": {"line": 0, "character": 4},
        }
        answer = await session.reply(session.request(INLINE, params))
        assert (answer["result"] is None) is is_stale


@pytest.mark.parametrize("formatting", [{"tabSize": "4"}, {"tabSize": -1}, 7, None, []])
async def test_odd_formatting_options_are_ignored(formatting: Any) -> None:
    session = await started("copilot.el", "value")
    session.open("x = ", language_id="python")
    params = {
        "textDocument": {"uri": URI, "version": "one"},
        "position": {"line": 0, "character": 4},
        "formattingOptions": formatting,
    }
    answer = await session.reply(session.request(INLINE, params))
    assert len(answer["result"]["items"]) == 1


def cell(number: int, kind: int = 2) -> dict[str, Any]:
    return {"kind": kind, "document": f"{NOTEBOOK}#cell{number}"}


def item(number: int, text: str, language: str = "python") -> dict[str, Any]:
    uri = cell(number)["document"]
    return {"uri": uri, "languageId": language, "version": 1, "text": text}


async def with_notebook(session: Session) -> None:
    texts = ["import os", "# A heading", "x = ", "SELECT 1", "print(x)"]
    languages = ["python", "markdown", "python", "sql", "python"]
    pairs = enumerate(zip(texts, languages, strict=True))
    items = [item(number, text, language) for number, (text, language) in pairs]
    cells = [cell(number, 1 if number == 1 else 2) for number in range(5)]
    book = {"uri": NOTEBOOK, "notebookType": "jupyter-notebook", "version": 1, "cells": cells}
    session.notify(
        "notebookDocument/didOpen", {"notebookDocument": book, "cellTextDocuments": items}
    )
    for each in items:
        session.texts[each["uri"]] = each["text"]
        session.versions[each["uri"]] = 1


async def test_the_cells_of_a_notebook_are_read_in_their_order() -> None:
    capabilities = {"notebookDocument": {"synchronization": {}}}
    session = Session("Visual Studio Code", {}, whole("os.getcwd()"))
    answer = await session.initialize(capabilities)
    assert "notebookDocumentSync" in answer["result"]["capabilities"]
    await with_notebook(session)
    uri = cell(2)["document"]
    first = await session.reply(session.ask(4, uri=uri))
    (request,) = session.link.requests
    assert request.prompt == "import os\n\nx = "
    assert request.suffix == "\n\nprint(x)\n"
    # What is inserted stays within the cell.
    (shown,) = first["result"]["items"]
    assert shown["range"]["start"] == {"line": 0, "character": 4}


async def test_an_edit_in_one_cell_is_seen_in_another_one() -> None:
    session = await started("Visual Studio Code", "os.getcwd()")
    await with_notebook(session)
    changed = {
        "document": {"uri": cell(0)["document"], "version": 2},
        "changes": [
            {
                "range": {
                    "start": {"line": 0, "character": 7},
                    "end": {"line": 0, "character": 9},
                },
                "text": "sys",
            }
        ],
    }
    uri = cell(2)["document"]
    await session.texts_at(4, uri=uri)
    book = {"uri": NOTEBOOK, "version": 2}
    change = {"cells": {"textContent": [changed]}}
    session.notify("notebookDocument/didChange", {"notebookDocument": book, "change": change})
    await session.texts_at(4, uri=uri)
    assert [request.prompt for request in session.link.requests] == [
        "import os\n\nx = ",
        "import sys\n\nx = ",
    ]


async def test_cells_that_move_end_what_is_in_flight() -> None:
    session = Session("Visual Studio Code")
    await session.initialize()
    await with_notebook(session)
    uri = cell(2)["document"]
    asked = session.ask(4, uri=uri)
    running = await session.asked(1)
    array = {"start": 0, "deleteCount": 1, "cells": []}
    structure = {"array": array, "didClose": [{"uri": cell(0)["document"]}]}
    book = {"uri": NOTEBOOK, "version": 2}
    change = {"cells": {"structure": structure}}
    session.notify("notebookDocument/didChange", {"notebookDocument": book, "change": change})
    assert (await session.reply(asked))["result"] is None
    await session.settle()
    assert running.is_cancelled


async def test_secret_files_are_silent_and_say_why() -> None:
    session = await started("Neovim", "value")
    uri = "file:///project/.env"
    session.open("TOKEN=", uri=uri)
    session.type(6, "a", uri)
    assert await session.texts_at(7, uri=uri) == []
    await session.settle()
    assert session.link.asked == []
    assert "secrets" in session.server.why.last(uri)


async def test_the_configuration_is_asked_for() -> None:
    session = Session("tests", {}, whole("value"))
    await session.initialize({"workspace": {"configuration": True}})
    (question,) = [note for note in session.notes if note["method"] == "workspace/configuration"]
    session.send({"id": question["id"], "result": [{"maxTokens": 11}]})
    session.open("x = ", language_id="python")
    await session.texts_at(4)
    assert session.link.requests[0].max_tokens == 11
