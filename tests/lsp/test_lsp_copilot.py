"""What clients of Copilot's language server send beside the standard is taken and answered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_client import URI, CommandClient
from fake_engine import Answer, FakeEngine

POSITION = {"line": 1, "character": 4}
ITEM = {
    "insertText": "a😀bc",
    "range": {"start": POSITION, "end": POSITION},
    "command": {
        "title": "",
        "command": "github.copilot.didAcceptCompletionItem",
        "arguments": ["id-7", 4],
    },
}


@pytest.fixture
def client(socket_path: Path) -> Iterator[CommandClient]:
    with CommandClient(str(socket_path)) as server:
        server.start(initializationOptions={"editorInfo": {"name": "x"}})
        server.open("def f():\n    \n")
        yield server


def flush(client: CommandClient) -> None:
    """What was notified has been handled once a request has been answered."""
    client.call("getVersion", {})


def test_nobody_has_to_sign_in(client: CommandClient) -> None:
    assert client.call("checkStatus", {}) == {"status": "OK", "user": "local"}
    assert client.call("checkStatus", {"options": {"localChecksOnly": True}})["status"] == "OK"
    for method in ("signIn", "signInInitiate"):
        assert client.call(method, {}) == {"status": "AlreadySignedIn", "user": "local"}
    assert client.call("signInConfirm", {"userCode": "x"})["status"] == "OK"
    assert client.call("signOut", {}) == {"status": "NotSignedIn"}
    assert client.call("setEditorInfo", {"editorInfo": {"name": "x"}}) == "OK"
    assert set(client.call("getVersion", {})) == {"version", "buildType", "runtimeVersion"}


def test_shown_and_partly_accepted_items_are_counted(client: CommandClient) -> None:
    client.notify("textDocument/didShowCompletion", {"item": ITEM})
    # Three UTF-16 units are the letter and the pair of halves behind it.
    for length in (3, 5):
        client.notify(
            "textDocument/didPartiallyAcceptCompletion", {"item": ITEM, "acceptedLength": length}
        )
    command = ITEM["command"]
    assert isinstance(command, dict)
    client.execute(command["command"], *command["arguments"])
    assert client.recorded() == [
        ["shown", "id-7", 4, None],
        ["partly_accepted", "id-7", 2],
        ["partly_accepted", "id-7", 4],
        ["accepted", "id-7", 4],
    ]


def test_focus_is_passed_on_and_tells_what_is_excluded(client: CommandClient) -> None:
    secret = "file:///project/keys.py"
    client.open("SECRET = 1\n", uri=secret)
    client.notify("textDocument/didFocus", {"textDocument": {"uri": URI}})
    client.notify("textDocument/didFocus", {})
    client.notify("textDocument/didFocus", {"textDocument": {"uri": secret}})
    flush(client)
    assert client.recorded() == [["focused", URI]]
    status = client.told("didChangeStatus")[-1]
    assert (status["kind"], status["busy"]) == ("Inactive", False)
    assert "excluded" in status["message"]


@pytest.mark.parametrize(
    "params",
    [
        *({}, None, {"item": None}, {"item": 7}, {"item": {"insertText": 3, "command": {}}}),
        *({"item": {**ITEM, "command": {"arguments": [9]}}}, {"item": ITEM, "acceptedLength": "x"}),
    ],
)
def test_what_cannot_be_read_is_ignored(client: CommandClient, params: Any) -> None:
    for method in ("didFocus", "didShowCompletion", "didPartiallyAcceptCompletion"):
        if method != "didShowCompletion" or params is None or "acceptedLength" not in params:
            client.notify(f"textDocument/{method}", params)
    for method in ("notifyShown", "notifyAccepted", "notifyRejected"):
        assert client.call(method, params) == "OK"
    assert client.call("getCompletions", params) == {"completions": []}
    assert client.call("textDocument/copilotPanelCompletion", params) == {"items": []}
    assert client.recorded() == [] and client.messages() == []


def test_the_panel_gets_several_alternatives(client: CommandClient) -> None:
    params = {"textDocument": {"uri": URI}, "position": POSITION}
    items = client.call("textDocument/copilotPanelCompletion", params)["items"]
    assert [item["insertText"] for item in items] == ["one", "two", "six"]
    # With a token they come as a partial result, and then not again.
    params["partialResultToken"] = "panel"
    assert client.call("textDocument/copilotPanelCompletion", params) == {"items": []}
    (progress,) = client.told("$/progress")
    assert progress["token"] == "panel"
    assert [item["insertText"] for item in progress["value"]["items"]] == ["one", "two", "six"]


def test_the_old_protocol_is_answered(client: CommandClient) -> None:
    doc = {"uri": URI, "position": POSITION, "version": 1, "relativePath": "example.py"}
    (only,) = client.call("getCompletions", {"doc": doc})["completions"]
    assert only == {
        "uuid": "id-one",
        "text": "    one",
        "displayText": "one",
        "range": {"start": {"line": 1, "character": 0}, "end": POSITION},
        "position": POSITION,
        "docVersion": 1,
    }
    cycling = client.call("getCompletionsCycling", {"doc": doc})["completions"]
    assert [each["displayText"] for each in cycling] == ["one", "two", "six"]
    client.call("notifyShown", {"uuid": "id-one"})
    client.call("notifyAccepted", {"uuid": "id-one", "acceptedLength": 2})
    client.call("notifyAccepted", {"uuid": "id-one"})
    client.call("notifyRejected", {"uuids": ["id-two", "id-nobody"]})
    assert client.recorded() == [
        ["shown", "id-one", 3, None],
        ["partly_accepted", "id-one", 2],
        ["accepted", "id-one", 3],
        ["dismissed", "id-two"],
    ]


def test_the_real_server_speaks_it(socket_path: Path, engine: FakeEngine) -> None:
    engine.default = Answer(texts=("return 1", "return 2"))
    arguments = ("--engine-socket", str(socket_path), "--no-engine-start")
    with CommandClient(*arguments, program=("-m", "nemodiff_lsp")) as client:
        options = {"editorInfo": {"name": "Emacs"}, "editorPluginInfo": {"name": "copilot.el"}}
        client.start(initializationOptions=options)
        assert client.call("checkStatus", {})["status"] == "OK"
        client.open("def f():\n    \n")
        client.notify("textDocument/didFocus", {"textDocument": {"uri": URI}})
        params = {"textDocument": {"uri": URI}, "position": POSITION}
        items = client.call("textDocument/copilotPanelCompletion", params)["items"]
        assert [item["insertText"] for item in items] == ["return 1", "return 2"]
        client.notify("textDocument/didShowCompletion", {"item": items[0]})
        command = items[0]["command"]
        assert client.execute(command["command"], *command["arguments"]) is None
        assert client.messages() == []
        assert any(status["kind"] == "Normal" for status in client.told("didChangeStatus"))
