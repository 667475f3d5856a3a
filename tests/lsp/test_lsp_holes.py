"""`nemodiff.fillHoles` and its code action over real stdio: what is asked, what is applied."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_client import URI, CommandClient, applied
from fake_fill_engine import FakeFillEngine, FillAnswer

FILL = "nemodiff.fillHoles"
SOURCE = "def area(w, h):\n    ...\n\n\ndef twice(w, h):\n    return 2 * __\n"


@pytest.fixture
def engine(socket_path: Path) -> Iterator[FakeFillEngine]:
    with FakeFillEngine(socket_path) as running:
        yield running


@pytest.fixture
def client(socket_path: Path, engine: FakeFillEngine) -> Iterator[CommandClient]:
    with CommandClient(str(socket_path)) as server:
        server.start()
        yield server


def lines(first: int, last: int) -> dict[str, Any]:
    return {"start": {"line": first, "character": 0}, "end": {"line": last, "character": 0}}


def actions(client: CommandClient, chosen: dict[str, Any], **context: Any) -> list[Any]:
    params = {"textDocument": {"uri": URI}, "range": chosen}
    found: list[Any] = client.call(
        "textDocument/codeAction", {**params, "context": {"diagnostics": [], **context}}
    )
    return found


def test_all_holes_are_filled_jointly_in_one_edit(
    client: CommandClient, engine: FakeFillEngine
) -> None:
    engine.fill_script.append(FillAnswer(texts=("return w * h", "area(w, h)")))
    client.open(SOURCE)
    assert client.execute(FILL, URI) == {"numHoles": 2, "numFilled": 2}
    (request,) = engine.fills
    assert request.pieces == (
        "def area(w, h):\n    ",
        "\n\n\ndef twice(w, h):\n    return 2 * ",
        "\n",
    )
    assert request.deadline_ms is not None and "example" not in str(request.to_json())
    client.wait_for("workspace/applyEdit")
    (edit,) = client.edits
    (change,) = edit["edit"]["documentChanges"]
    assert change["textDocument"] == {"uri": URI, "version": 1}
    assert applied(SOURCE, edit) == (
        "def area(w, h):\n    return w * h\n\n\ndef twice(w, h):\n    return 2 * area(w, h)\n"
    )


def test_progress_is_begun_and_ended_once(client: CommandClient, engine: FakeFillEngine) -> None:
    engine.fill_script.append(FillAnswer(texts=("return 1",), is_held=True))
    client.open("def f():\n    ...\n")
    msg_id = client.send("workspace/executeCommand", {"command": FILL, "arguments": [URI]})
    begin = client.wait_for("$/progress")
    engine.release()
    assert client.answer(msg_id)["result"]["numFilled"] == 1
    assert begin["value"]["kind"] == "begin" and begin["value"]["cancellable"] is True
    (end,) = client.told("$/progress")
    assert end == {"token": begin["token"], "value": {"kind": "end"}}


def test_a_clients_own_progress_token_is_used(
    client: CommandClient, engine: FakeFillEngine
) -> None:
    client.open("def f():\n    ...\n")
    engine.fill_script.append(FillAnswer(texts=("return 1",)))
    client.execute(FILL, URI, workDoneToken="mine")
    assert [(p["token"], p["value"]["kind"]) for p in client.told("$/progress")] == [
        ("mine", "begin"),
        ("mine", "end"),
    ]
    assert client.told("window/workDoneProgress/create") == []


@pytest.mark.parametrize("way", ["request", "progress"])
def test_a_stopped_fill_frees_the_engine_and_changes_nothing(
    client: CommandClient, engine: FakeFillEngine, way: str
) -> None:
    engine.fill_script.append(FillAnswer(is_held=True))
    client.open(SOURCE)
    # Much longer than the test waits: only the stop can end the work.
    arguments = [{"uri": URI, "deadlineMs": 600_000}]
    msg_id = client.send("workspace/executeCommand", {"command": FILL, "arguments": arguments})
    begin = client.wait_for("$/progress")
    engine.wait_until(lambda: len(engine.fills) == 1)
    if way == "request":
        client.notify("$/cancelRequest", {"id": msg_id})
        assert client.answer(msg_id)["error"]["code"] == -32800
    else:
        client.notify("window/workDoneProgress/cancel", {"token": begin["token"]})
        assert client.answer(msg_id)["result"] is None
        assert client.messages() == ["NemoDiff: stopped; nothing was changed."]
    engine.wait_until(lambda: engine.num_abandoned == 1)
    assert client.execute("nemodiff.setMode", "ar") == "ar"
    assert client.edits == []
    assert client.told("$/progress")[-1]["value"]["kind"] == "end"


def test_a_document_that_changed_meanwhile_is_left_alone(
    client: CommandClient, engine: FakeFillEngine
) -> None:
    engine.fill_script.append(FillAnswer(texts=("return 1",), is_held=True))
    client.open(SOURCE)
    msg_id = client.send("workspace/executeCommand", {"command": FILL, "arguments": [URI]})
    engine.wait_until(lambda: len(engine.fills) == 1)
    client.change(SOURCE + "\n", version=2)
    # The change has been handled once a request behind it has been answered.
    client.execute("nemodiff.setMode", "ar")
    client.notes.clear()
    engine.release()
    assert client.answer(msg_id)["result"] is None
    assert client.messages() == ["NemoDiff: The document changed meanwhile; nothing was applied."]
    assert client.edits == []


def test_what_the_deadline_left_is_applied_and_the_rest_said(
    client: CommandClient, engine: FakeFillEngine
) -> None:
    answer = FillAnswer(texts=("return w * h", ""), finish_reasons=("stop", "deadline"))
    engine.fill_script.append(answer)
    client.open(SOURCE)
    assert client.execute(FILL, {"uri": URI, "deadlineMs": 20_000}) == {
        "numHoles": 2,
        "numFilled": 1,
    }
    # Less what it took to find the engine.
    deadline_ms = engine.fills[0].deadline_ms
    assert deadline_ms is not None and 0 < deadline_ms <= 20_000
    client.wait_for("workspace/applyEdit")
    assert applied(SOURCE, client.edits[0]) == SOURCE.replace("...", "return w * h")
    assert client.messages() == [
        "NemoDiff: 1 of 2 holes were filled; the time was up for the rest."
    ]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (FillAnswer(texts=("",)), "No hole was filled: the model had nothing to put there."),
        (FillAnswer(texts=("...",)), "No hole was filled: the model had nothing to put there."),
        (
            FillAnswer(texts=("",), finish_reasons=("deadline",)),
            "No hole was filled: the time was up.",
        ),
        (FillAnswer(status=500), "The engine gave no answer; nothing was filled."),
    ],
)
def test_when_nothing_comes_of_it_one_sentence_says_why(
    client: CommandClient, engine: FakeFillEngine, answer: FillAnswer, said: str
) -> None:
    engine.fill_script.append(answer)
    client.open(SOURCE)
    assert client.execute(FILL, URI) is None
    assert f"NemoDiff: {said}" in client.messages()
    assert client.edits == []


def test_a_range_positions_and_tab_stops_choose_the_holes(
    client: CommandClient, engine: FakeFillEngine
) -> None:
    client.open(SOURCE)
    engine.fill_script.extend([FillAnswer(texts=("w * h",))] * 2)
    assert client.execute(FILL, URI, lines(4, 6))["numHoles"] == 1
    assert engine.fills[-1].pieces[0].endswith("return 2 * ")
    cursors = [{"line": 5, "character": 15}, {"line": 2, "character": 0}]
    assert client.execute(FILL, {"uri": URI, "positions": cursors})["numHoles"] == 2
    assert engine.fills[-1].pieces == (SOURCE[:24], SOURCE[24:58], SOURCE[58:])
    client.open("for ${1:x} in $2:\n    print($1)\n", version=2)
    assert client.execute(FILL, URI) is None
    engine.fill_script.append(FillAnswer(texts=("word", "words")))
    assert client.execute(FILL, {"uri": URI, "tabStops": True}) == {"numHoles": 3, "numFilled": 3}
    client.execute("nemodiff.setMode", "ar")
    done = applied("for ${1:x} in $2:\n    print($1)\n", client.edits[-1])
    assert done == "for word in words:\n    print(word)\n"


def test_line_ends_tabs_and_wide_characters_stay(
    client: CommandClient, engine: FakeFillEngine
) -> None:
    source = "x = '😀'\r\ndef f(a):\r\n\tif a:\r\n\t\t# TODO: count to three\r\n\t\tpass\r\n"
    engine.fill_script.append(FillAnswer(texts=("for i in range(3):\n\t\t\tprint(i)",)))
    client.open(source)
    client.execute(FILL, URI)
    client.wait_for("workspace/applyEdit")
    assert engine.fills[0].pieces[0].endswith("\tif a:\n\t\t# count to three\n\t\t")
    assert applied(source, client.edits[0]) == (
        "x = '😀'\r\ndef f(a):\r\n\tif a:\r\n\t\t# count to three\r\n"
        "\t\tfor i in range(3):\r\n\t\t\tprint(i)\r\n"
    )


def test_a_body_on_the_line_of_its_head_moves_below_it(
    client: CommandClient, engine: FakeFillEngine
) -> None:
    source = "class A:\n  x = 1\n\n  def f(self): ...\n"
    engine.fill_script.append(FillAnswer(texts=("return self.x",)))
    client.open(source)
    client.execute(FILL, URI)
    client.wait_for("workspace/applyEdit")
    done = applied(source, client.edits[0])
    assert done == "class A:\n  x = 1\n\n  def f(self):\n    return self.x\n"


def test_no_second_blank_in_front_of_a_value(client: CommandClient, engine: FakeFillEngine) -> None:
    source = "fn even(n: i32) -> bool { todo!() }\n"
    engine.fill_script.append(FillAnswer(texts=("   n % 2 == 0",)))
    client.open(source, language="rust")
    client.execute(FILL, URI)
    client.wait_for("workspace/applyEdit")
    assert applied(source, client.edits[0]) == "fn even(n: i32) -> bool { n % 2 == 0 }\n"


def test_the_code_action_is_offered_where_holes_are_and_fills_them(
    client: CommandClient, engine: FakeFillEngine
) -> None:
    client.open(SOURCE)
    (action,) = actions(client, lines(1, 1))
    assert (action["title"], action["kind"]) == ("Fill holes (NemoDiff)", "refactor.rewrite")
    assert actions(client, lines(0, 0)) == []
    assert actions(client, lines(3, 3)) == []
    assert engine.fills == []
    engine.fill_script.append(FillAnswer(texts=("return 1",)))
    command = action["command"]
    assert client.execute(command["command"], *command["arguments"])["numHoles"] == 1


def test_code_actions_are_filtered_by_kind(client: CommandClient) -> None:
    client.open(SOURCE)
    for only, count in (["refactor"], 1), ([""], 1), (["quickfix"], 0), (["refactor.extract"], 0):
        assert len(actions(client, lines(1, 1), only=only)) == count


def test_no_code_actions_in_excluded_documents_or_when_off(client: CommandClient) -> None:
    client.open("SECRET = 1\nx = __\n")
    assert actions(client, lines(1, 1)) == []
    client.open(SOURCE, version=2)
    assert len(actions(client, lines(1, 1))) == 1
    client.execute("nemodiff.toggle")
    assert actions(client, lines(1, 1)) == []


def test_clients_without_code_action_literals_get_commands(
    socket_path: Path, engine: FakeFillEngine
) -> None:
    with CommandClient(str(socket_path)) as client:
        client.start({})
        client.open(SOURCE)
        (command,) = actions(client, lines(1, 1))
        assert command["command"] == FILL
        engine.fill_script.append(FillAnswer(texts=("return 1",)))
        # Nor do they apply edits, or know versions.
        result = client.execute(FILL, *command["arguments"])
        assert applied(SOURCE, result) == SOURCE.replace("...", "return 1")
        assert set(result["edit"]) == {"changes"}


def test_the_real_server_fills_and_refuses(socket_path: Path, engine: FakeFillEngine) -> None:
    arguments = ("--engine-socket", str(socket_path), "--no-engine-start")
    with CommandClient(*arguments, program=("-m", "nemodiff_lsp")) as client:
        client.start()
        engine.fill_script.append(FillAnswer(texts=("return w * h", "area(w, h)")))
        client.open(SOURCE)
        assert client.execute(FILL, URI) == {"numHoles": 2, "numFilled": 2}
        env = "file:///project/.env"
        client.open("KEY = __\n", uri=env, language="python")
        assert client.execute(FILL, env) is None
        assert len(engine.fills) == 1
        assert client.messages()[-1].startswith("NemoDiff: ")
