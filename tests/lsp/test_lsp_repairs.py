"""`nemodiff.repairRange` and its code actions over real stdio; what becomes of spans and text."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from command_client import CAPABILITIES, URI, CommandClient, applied
from fake_fill_engine import FakeFillEngine, RepairAnswer
from hypothesis import given
from hypothesis import strategies as st

from nemodiff_lsp.commands.repairs import replacements_between, spans_within

REPAIR = "nemodiff.repairRange"
SOURCE = "def area(w, h):\n    return w + h\n\nprint(area(2, 3))\n"


@pytest.fixture
def engine(socket_path: Path) -> Iterator[FakeFillEngine]:
    with FakeFillEngine(socket_path) as running:
        yield running


@pytest.fixture
def client(socket_path: Path, engine: FakeFillEngine) -> Iterator[CommandClient]:
    with CommandClient(str(socket_path)) as server:
        server.start()
        yield server


def a_range(line: int, start: int, end: int) -> dict[str, Any]:
    return {
        "start": {"line": line, "character": start},
        "end": {"line": line, "character": end},
    }


def test_a_repair_is_previewed_as_an_annotated_edit(
    client: CommandClient, engine: FakeFillEngine
) -> None:
    engine.repair_script.append(RepairAnswer("+", "*"))
    client.open(SOURCE)
    assert client.execute(REPAIR, URI, a_range(1, 4, 16)) == {"numChanges": 1}
    (request,) = engine.repairs
    assert (request.prefix, request.text) == (SOURCE[:20], "return w + h")
    assert request.suffix == SOURCE[32:] and request.spans is None
    client.wait_for("workspace/applyEdit")
    edit = client.edits[0]["edit"]
    (change,) = edit["documentChanges"]
    assert change["textDocument"] == {"uri": URI, "version": 1}
    (only,) = change["edits"]
    assert only == {"range": a_range(1, 13, 14), "newText": "*", "annotationId": "nemodiff"}
    assert edit["changeAnnotations"]["nemodiff"] == {
        "label": "NemoDiff: repair",
        "needsConfirmation": True,
        "description": "confidence 31% before, 84% now",
    }
    assert applied(SOURCE, client.edits[0]) == SOURCE.replace("+", "*")
    assert client.messages() == []


def test_without_previews_the_user_is_told(socket_path: Path, engine: FakeFillEngine) -> None:
    workspace = {"applyEdit": True, "workspaceEdit": {"documentChanges": True}}
    with CommandClient(str(socket_path)) as client:
        client.start({**CAPABILITIES, "workspace": workspace})
        engine.repair_script.append(RepairAnswer("+", "*"))
        client.open(SOURCE)
        client.execute(REPAIR, URI, a_range(1, 0, 16))
        client.wait_for("workspace/applyEdit")
        assert "changeAnnotations" not in client.edits[0]["edit"]
        (message,) = client.messages()
        assert message.startswith("NemoDiff changed 1 place (confidence 31% before, 84% now)")


def test_diagnostics_in_the_range_are_the_doubts(
    client: CommandClient, engine: FakeFillEngine
) -> None:
    client.open(SOURCE)
    diagnostics = [
        {"range": a_range(1, 11, 14), "message": "wrong"},
        {"range": a_range(3, 0, 5), "message": "elsewhere"},
        a_range(1, 16, 16),
    ]
    client.execute(REPAIR, {"uri": URI, "range": a_range(1, 0, 0), "diagnostics": diagnostics})
    assert engine.repairs[0].text == "    return w + h"
    assert engine.repairs[0].spans == ((11, 14), (15, 16))


def test_nothing_better_is_said_and_nothing_applied(
    client: CommandClient, engine: FakeFillEngine
) -> None:
    client.open(SOURCE)
    assert client.execute(REPAIR, URI, a_range(1, 0, 16)) is None
    assert client.messages() == ["NemoDiff: Nothing was changed: the model has no doubt."]
    assert client.execute(REPAIR, URI, a_range(2, 0, 0)) is None
    assert client.messages()[-1] == "NemoDiff: There is nothing to repair in the selection."
    assert client.edits == [] and len(engine.repairs) == 1


def test_a_selection_may_not_be_too_long(client: CommandClient, engine: FakeFillEngine) -> None:
    client.open("x = 1\n" * 5_000)
    whole = {"start": {"line": 0, "character": 0}, "end": {"line": 5_000, "character": 0}}
    assert client.execute(REPAIR, URI, whole) is None
    assert client.messages() == ["NemoDiff: Select at most 20000 characters to repair."]
    assert engine.repairs == []


def test_a_document_that_changed_meanwhile_is_left_alone(
    client: CommandClient, engine: FakeFillEngine
) -> None:
    engine.repair_script.append(RepairAnswer("+", "*", is_held=True))
    client.open(SOURCE)
    params = {"command": REPAIR, "arguments": [URI, a_range(1, 0, 16)]}
    msg_id = client.send("workspace/executeCommand", params)
    engine.wait_until(lambda: len(engine.repairs) == 1)
    client.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
    # The end has been handled once a request behind it has been answered.
    client.execute("nemodiff.setMode", "ar")
    engine.release()
    assert client.answer(msg_id)["result"] is None
    assert client.edits == []


def test_code_actions_repair_a_selection_and_diagnosed_code(
    client: CommandClient, engine: FakeFillEngine
) -> None:
    client.open(SOURCE)
    diagnostic = {"range": a_range(1, 13, 14), "message": "unsupported operand"}
    params = {"textDocument": {"uri": URI}, "range": a_range(1, 4, 16)}
    context = {"diagnostics": [diagnostic]}
    selection, fix = client.call("textDocument/codeAction", {**params, "context": context})
    assert (selection["title"], selection["kind"]) == (
        "Repair selection (NemoDiff)",
        "refactor.rewrite",
    )
    assert fix["kind"] == "quickfix" and fix["diagnostics"] == [diagnostic]
    engine.repair_script.append(RepairAnswer("+", "*"))
    command = fix["command"]
    assert client.execute(command["command"], *command["arguments"]) == {"numChanges": 1}
    assert engine.repairs[0].text == "    return w + h"
    assert engine.repairs[0].spans == ((13, 14),)
    # A cursor alone is no selection.
    params["range"] = a_range(1, 4, 4)
    assert client.call("textDocument/codeAction", {**params, "context": {"diagnostics": []}}) == []


TEXT = st.text(alphabet="ab1 \n\t(){}+*äß😀", max_size=60)


@given(old=TEXT, new=TEXT, before=TEXT, after=TEXT)
def test_the_replacements_make_the_new_text_out_of_the_old(
    old: str, new: str, before: str, after: str
) -> None:
    text = before + old + after
    replacements = replacements_between(old, new, len(before))
    for each in reversed(replacements):
        text = text[: each.start] + each.text + text[each.end :]
    assert text == before + new + after
    assert bool(replacements) == (old != new)


PLACES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted), max_size=8)


@given(source=st.text(alphabet="ab (\n", min_size=40, max_size=40), doubts=PLACES, data=st.data())
def test_spans_lie_apart_within_the_selection(
    source: str, doubts: list[Any], data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, 39))
    end = data.draw(st.integers(start + 1, 40))
    spans = spans_within(source, [(low, high) for low, high in doubts], start, end)
    if spans is None:
        assert all(low >= end or high <= start for low, high in doubts if low < high)
        return
    assert all(0 <= low < high <= end - start for low, high in spans)
    assert all(left[1] < right[0] for left, right in pairwise(spans))
    covered = {place for low, high in spans for place in range(low + start, high + start)}
    wanted = {place for low, high in doubts for place in range(max(low, start), min(high, end))}
    assert wanted <= covered
