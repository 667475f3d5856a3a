"""The commands over real stdio: results, what the user is told, wrong arguments in a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_client import URI, CommandClient, applied
from fake_engine import Answer
from fake_fill_engine import FakeFillEngine
from hypothesis import given
from hypothesis import strategies as st

from nemodiff_lsp.commands.arguments import ArgumentError, Arguments, text
from nemodiff_lsp.commands.commands import DID_ACCEPT, Commands
from nemodiff_lsp.commands.report import without_paths
from nemodiff_lsp.completion.offer_steps import next_line, next_word
from nemodiff_lsp.completion.why import WhyLog
from nemodiff_lsp.settings.settings import Settings
from nemodiff_lsp.status import COPILOT_METHOD, METHOD, State, Status
from nemodiff_lsp.switches import Switches


@pytest.fixture
def fill_engine(socket_path: Path) -> Iterator[FakeFillEngine]:
    with FakeFillEngine(socket_path) as running:
        yield running


@pytest.fixture
def client(socket_path: Path) -> Iterator[CommandClient]:
    """A client of a server whose engine is not there, unless the test starts one."""
    with CommandClient(str(socket_path)) as server:
        server.start()
        yield server


@pytest.fixture(scope="module")
def patient_client() -> Iterator[CommandClient]:
    """One for many questions, none of which changes anything. It has no engine."""
    with CommandClient("/nonexistent/engine.sock") as server:
        server.start()
        server.open("x = 1\n")
        yield server


COMMANDS = [
    *("nemodiff.showStatus", "nemodiff.why", "nemodiff.toggle", "nemodiff.setMode"),
    *("nemodiff.restartEngine", "nemodiff.report", "nemodiff.acceptNextWord"),
    *("nemodiff.acceptNextLine", "nemodiff.fillHoles", "nemodiff.repairRange"),
    *("nemodiff.didAccept", "github.copilot.didAcceptCompletionItem"),
]


def test_every_command_is_announced_with_the_code_actions(socket_path: Path) -> None:
    with CommandClient(str(socket_path)) as server:
        capabilities = server.start()["capabilities"]
    assert sorted(capabilities["executeCommandProvider"]["commands"]) == sorted(COMMANDS)
    kinds = capabilities["codeActionProvider"]["codeActionKinds"]
    assert kinds == ["refactor.rewrite", "quickfix"]


@pytest.mark.parametrize(
    ("command", "arguments", "said"),
    [
        ("nemodiff.setMode", [], "nemodiff.setMode needs the argument 'mode'."),
        ("nemodiff.setMode", ["fast"], "nemodiff.setMode needs one of auto, "),
        ("nemodiff.setMode", [{"speed": 1}], "does not know the argument 'speed'"),
        ("nemodiff.setMode", ["ar", "ar"], "takes at most 1 arguments, not 2."),
        ("nemodiff.toggle", ["planet"], "one of global, language, document"),
        ("nemodiff.toggle", ["language"], "needs the argument 'language'"),
        ("nemodiff.toggle", [{"scope": "document"}], "needs the argument 'uri'."),
        ("nemodiff.toggle", [{"enabled": "yes"}], "needs true or false as its argument 'enabled'."),
        ("nemodiff.why", [7], "nemodiff.why needs a string as its argument 'uri'."),
        ("nemodiff.acceptNextWord", [], "needs the argument 'uri'."),
        ("nemodiff.acceptNextLine", ["file:///other.py"], "The document is not open"),
        ("nemodiff.fillHoles", [], "needs the argument 'uri'."),
        ("nemodiff.fillHoles", [URI, "all"], "needs a range (start and end)"),
        ("nemodiff.fillHoles", [URI, None, [{"line": 1}]], "a position (line and character)"),
        ("nemodiff.fillHoles", [URI, None, None, None, -1], "a number from 1 to"),
        ("nemodiff.repairRange", [URI], "needs the argument 'range'."),
        ("nemodiff.repairRange", [URI, {"start": 1, "end": 2}], "needs a range (start and end)"),
        ("nemodiff.report", [1], "takes at most 0 arguments, not 1."),
        ("nemodiff.restartEngine", [], "This engine was not started from here"),
        ("nemodiff.dance", [], "There is no command 'nemodiff.dance'."),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(
    patient_client: CommandClient, command: str, arguments: list[Any], said: str
) -> None:
    patient_client.notes.clear()
    assert patient_client.execute(command, *arguments) is None
    (message,) = patient_client.messages()
    assert said in message
    assert message.startswith("NemoDiff: ") and message.endswith(".") and "\n" not in message
    # The server goes on.
    assert patient_client.execute("nemodiff.setMode", "auto") == "auto"


def test_an_excluded_document_is_refused_with_the_rule(client: CommandClient) -> None:
    client.open("SECRET = ...\n")
    for command in ("nemodiff.fillHoles", "nemodiff.acceptNextWord"):
        assert client.execute(command, URI) is None
    rule = "NemoDiff: This file is excluded: it holds a secret."
    assert client.messages() == [rule, rule]
    assert client.execute("nemodiff.why", URI) == "This file is excluded: it holds a secret."


def test_toggling_tells_what_is_so_now(client: CommandClient) -> None:
    client.open("x = 1\n")
    assert client.execute("nemodiff.toggle") == {"scope": "global", "enabled": False}
    assert client.execute("nemodiff.showStatus") == "NemoDiff is switched off."
    assert client.execute("nemodiff.why", URI) == "NemoDiff is switched off."
    assert client.execute("nemodiff.toggle", "global") == {"scope": "global", "enabled": True}
    assert client.execute("nemodiff.toggle", "language", URI)["enabled"] is False
    assert client.execute("nemodiff.why", URI) == "NemoDiff is switched off for python."
    assert client.execute("nemodiff.toggle", "language", "python")["enabled"] is True
    off = client.execute("nemodiff.toggle", {"scope": "document", "uri": URI, "enabled": False})
    assert off == {"scope": "document", "enabled": False}
    assert client.execute("nemodiff.why", URI) == "NemoDiff is switched off for this document."
    assert client.messages()[-2] == "NemoDiff is switched off for this document."


def test_the_report_names_versions_and_no_path(client: CommandClient) -> None:
    client.execute("nemodiff.setMode", "ar")
    report = client.execute("nemodiff.report")
    for part in ("nemodiff 0.", "pygls 2.", "mode = 'ar'", "Engine", "Last problems"):
        assert part in report
    assert "/" not in report.replace("<path>", "").replace("python/", "")
    assert client.told("window/logMessage")[-1]["message"] == report


@pytest.mark.parametrize(
    "path",
    [
        "unix:/home/ann/x.py",
        "/home/ann/x.py",
        "C:\\Users\\ann\\x.py",
        "file:///home/ann/x.py",
        "~/code/x.py",
    ],
)
def test_a_report_shows_no_path(path: str) -> None:
    assert without_paths(f"It cannot read {path} (gone).") == "It cannot read <path> (gone)."


def test_words_and_lines_are_taken_from_the_offer(client: CommandClient) -> None:
    source = "äöü = 😀foo\n"
    client.open(source)
    offer = {"text": "bar(1)\n  baz", "line": 0, "character": 11, "version": 1}
    client.notify("test/offer", offer)
    taken = client.execute("nemodiff.acceptNextWord", URI)
    assert taken == {"text": "bar", "position": {"line": 0, "character": 14}}
    # What the client was sent makes the text that the user wanted.
    client.wait_for("workspace/applyEdit")
    assert applied(source, client.edits[-1]) == "äöü = 😀foobar\n"
    taken = client.execute("nemodiff.acceptNextLine", {"uri": URI})
    assert taken == {"text": "bar(1)", "position": {"line": 0, "character": 17}}


def test_an_offer_for_another_version_is_not_taken(client: CommandClient) -> None:
    client.open("foo\n")
    client.notify("test/offer", {"text": "bar", "line": 0, "character": 3, "version": 0})
    assert client.execute("nemodiff.acceptNextWord", URI) is None
    assert client.edits == [] and client.messages() == []


def test_a_client_that_applies_no_edits_gets_them(socket_path: Path) -> None:
    with CommandClient(str(socket_path)) as client:
        client.start({})
        client.open("foo\r\n")
        offer = {"text": "(\n)", "line": 0, "character": 3, "version": 1}
        client.notify("test/offer", offer)
        taken = client.execute("nemodiff.acceptNextLine", URI)
        assert taken["text"] == "("
        assert applied("foo\r\n", taken) == "foo(\r\n"


def test_an_edit_that_is_not_applied_is_told(client: CommandClient) -> None:
    client.open("foo\n")
    client.applies = False
    client.notify("test/offer", {"text": "bar", "line": 0, "character": 3, "version": 1})
    assert client.execute("nemodiff.acceptNextWord", URI)["text"] == "bar"
    assert "did not apply the edit" in client.wait_for("window/showMessage")["message"]


@pytest.mark.parametrize("arguments", [["id-1", 12], [{"offerId": "id-1", "numChars": 12}]])
def test_an_accepted_item_is_counted(client: CommandClient, arguments: list[Any]) -> None:
    assert client.execute(DID_ACCEPT, *arguments) is None
    assert client.recorded() == [["accepted", "id-1", 12]]


def test_what_an_item_sends_along_never_shows_an_error(client: CommandClient) -> None:
    for arguments in ([], [7], [None, None, None], [{"x": 1}]):
        assert client.execute(DID_ACCEPT, *arguments) is None
    assert client.messages() == [] and client.recorded() == []


def test_the_status_reaches_clients_that_ask_for_it(
    socket_path: Path, fill_engine: FakeFillEngine
) -> None:
    with CommandClient(str(socket_path)) as client:
        client.start(initializationOptions={"nemodiff.status": True, "editorInfo": {"name": "x"}})
        first = client.wait_for(METHOD)
        assert first["kind"] == "loading" and set(first) == {
            *("kind", "message", "perCent", "nothingBecause")
        }
        assert client.wait_for(COPILOT_METHOD)["busy"] is True
        client.execute("nemodiff.toggle")
        client.execute("nemodiff.toggle")
        kinds = [params["kind"] for params in client.told(METHOD)]
        assert kinds[-2:] == ["paused", "loading"]
        assert [p["kind"] for p in client.told(COPILOT_METHOD)][-2:] == ["Inactive", "Normal"]


def test_others_get_no_status(client: CommandClient) -> None:
    client.execute("nemodiff.toggle")
    assert client.told(METHOD) == [] and client.told(COPILOT_METHOD) == []


class Clock:
    """`call_later` by hand."""

    def __init__(self) -> None:
        self.pending: list[Any] = []

    def later(self, delay_s: float, action: Any) -> Clock:
        self.pending.append(action)
        return self

    def cancel(self) -> None:
        self.pending.clear()

    def ring(self) -> None:
        for action in self.pending[:]:
            self.pending.remove(action)
            action()


def watched_status() -> tuple[Status, Clock, list[Any]]:
    sent: list[Any] = []
    clock = Clock()
    status = Status(lambda method, params: sent.append(params), later=clock.later)
    status.announce(knows_copilots=False, knows_ours=True)
    status.set_state("ready", "The engine is ready: model on cpu.")
    sent.clear()
    return status, clock, sent


def test_short_work_is_not_told_and_long_work_is() -> None:
    status, clock, sent = watched_status()
    status.set_state("busy", "Completing.")
    assert status.state.kind == "busy" and sent == []
    status.rest()
    clock.ring()
    assert sent == []
    status.set_state("busy", "Completing.")
    clock.ring()
    status.set_state("busy", "Completing.")
    status.rest()
    assert [params["kind"] for params in sent] == ["busy", "ready"]


def test_the_status_is_sent_when_it_changes_only() -> None:
    status, _, sent = watched_status()
    for fraction in (0.101, 0.102, 0.2, 0.2):
        status.set_state("loading", "Loading.", fraction=fraction)
    assert [params["perCent"] for params in sent] == [10, 20]
    assert sent[-1]["message"] == "Loading (20 %)."
    status.nothing("The model was not sure enough.")
    status.nothing("The model was not sure enough.")
    assert len(sent) == 3 and sent[-1]["nothingBecause"] == "The model was not sure enough."


def test_what_matters_more_covers_the_rest() -> None:
    status, _, sent = watched_status()
    status.set_state("excluded", "Excluded.")
    status.set_state("paused", "Off.")
    status.set_state("error", "The engine crashed.")
    status.rest()
    assert [params["kind"] for params in sent] == ["excluded", "paused"]
    status.resume()
    assert status.state == State("error", "The engine crashed.")
    status.close()
    status.set_state("ready", "Ready.")
    assert [params["kind"] for params in sent] == ["excluded", "paused", "error"]


def test_the_log_of_reasons_is_bounded_and_tells_news() -> None:
    heard: list[tuple[str, str]] = []
    why = WhyLog(lambda uri, reason: heard.append((uri, reason)))
    assert why.last(None) == why.last("a") == "Nothing has been asked for yet."
    why.note("a", "One.")
    why.note("a", "One.")
    why.note("b", "Two.")
    assert heard == [("a", "One."), ("b", "Two.")]
    assert (why.last("a"), why.last(None)) == ("One.", "Two.")
    assert why.last("c") == "Nothing has been asked for in this document yet."
    for number in range(1000):
        why.note(f"{number}", "Three.")
    assert why.last("a") == "Nothing has been asked for in this document yet."
    why.forget("999")
    assert why.last(None) == "Three."


def test_the_nearest_switch_decides() -> None:
    switches, settings = Switches(), Settings()

    def is_on(uri: str = "a", language: str = "python") -> bool:
        return switches.off_because(settings, uri, language) is None

    assert is_on()
    assert not switches.toggle("document", settings, uri="a", language_id="python")
    assert not is_on() and is_on("b")
    assert not switches.toggle("language", settings, language_id="python", to=False)
    assert not is_on("b") and is_on("c", "rust")
    assert switches.toggle("document", settings, uri="b", language_id="python")
    assert is_on("b") and not is_on("c", "python")
    # A switch of the whole takes the smaller ones back.
    assert not switches.toggle("global", settings)
    assert not is_on("b") and not is_on("c", "rust")
    assert switches.toggle("global", settings)
    assert is_on() and is_on("b")


def test_a_changed_setting_takes_the_switch_back() -> None:
    switches = Switches()
    off, on = Settings(enabled=False), Settings()
    assert switches.off_because(off, "a", None) == "NemoDiff is off in the settings."
    assert switches.toggle("global", off)
    assert switches.off_because(off, "a", None) is None
    assert switches.off_because(on, "a", None) is None
    assert switches.off_because(off, "a", None) == "NemoDiff is off in the settings."
    some = Settings(disabled_languages=("python",))
    assert switches.off_because(some, "a", "rust") is None
    assert "python" in str(switches.off_because(some, "a", "python"))
    assert switches.toggle("language", some, language_id="python")
    assert switches.off_because(some, "a", "python") is None


@given(st.text(alphabet="ab1 \n\t(){}.,ä", max_size=40), st.sampled_from([next_word, next_line]))
def test_steps_put_together_are_the_whole_offer(offer: str, step: Any) -> None:
    rest, taken = offer, ""
    while rest:
        piece = step(rest)
        assert piece and rest.startswith(piece)
        # Each step but the last, of blanks, shows something.
        assert piece.strip() or piece == rest
        rest, taken = rest[len(piece) :], taken + piece
    assert taken == offer


def test_steps_are_words_and_lines() -> None:
    assert next_word("  foo_bar(x)") == "  foo_bar"
    assert next_word("(x)") == "(" and next_word(" += 1") == " +="
    assert next_line("foo(\n  1)\n") == "foo(" and next_line("\n\n  1)\n2") == "\n\n  1)"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@given(st.lists(JSON, max_size=4) | st.none())
def test_any_arguments_are_read_or_refused(given: list[Any] | None) -> None:
    try:
        value = Arguments("x", given, ("uri", "range")).optional("uri", text)
    except ArgumentError as problem:
        assert str(problem).startswith("x ") and "\n" not in str(problem)
    else:
        assert value is None or value


def test_the_table_has_the_commands_of_the_protocol() -> None:
    class Nobody:
        pass

    assert sorted(Commands(Nobody(), None).names) == sorted(COMMANDS)  # type: ignore[arg-type]


def test_the_real_server_carries_them_out(socket_path: Path, fill_engine: FakeFillEngine) -> None:
    """The commands meet the pipeline's own offers, reasons and switches."""
    fill_engine.default = Answer(texts=("alpha + beta",))
    arguments = ("--engine-socket", str(socket_path), "--no-engine-start")
    with CommandClient(*arguments, program=("-m", "nemodiff_lsp")) as client:
        client.start(clientInfo={"name": "Some Editor", "version": "7"})
        source = "alpha = beta = 1\nx = \n"
        client.open(source)
        asked = {
            "textDocument": {"uri": URI},
            "position": {"line": 1, "character": 4},
            "context": {"triggerKind": 1},
        }
        inline = "textDocument/inlineCompletion"
        assert client.execute("nemodiff.why") == "Nothing has been asked for yet."
        assert len(client.call(inline, asked)["items"]) == 1
        word = client.execute("nemodiff.acceptNextWord", URI)
        assert word == {"text": "alpha", "position": {"line": 1, "character": 9}}
        source = applied(source, client.edits[-1])
        assert source == "alpha = beta = 1\nx = alpha\n"
        # The edit is typing along the offer: the rest of it is there without the engine.
        num_requests = len(fill_engine.requests)
        client.change(source, version=2)
        asked["position"] = {"line": 1, "character": 9}
        (rest,) = client.call(inline, {**asked, "context": {"triggerKind": 2}})["items"]
        assert rest["insertText"] == " + beta" and len(fill_engine.requests) == num_requests
        assert client.execute("nemodiff.acceptNextWord", URI)["text"] == " +"
        client.execute("nemodiff.toggle", "language", URI)
        assert client.call(inline, asked)["items"] == []
        assert client.execute("nemodiff.why", URI) == "NemoDiff is switched off for python."
        report = client.execute("nemodiff.report")
        assert "editor: Some Editor 7" in report and "fake-model" in report
        assert "asked: " in report and "example.py" not in report and "alpha" not in report
