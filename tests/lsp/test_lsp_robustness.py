"""What a language server must survive: odd clients and messages, prints, bad settings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from documents import StartClient, ask, inline_params, open_text, texts_of
from fake_engine import Answer, FakeEngine
from lsprotocol import types
from raw_server import RawServer, arguments_for, inline_request

INLINE = "textDocument/inlineCompletion"
CANARY = "canary_4711_text"


@pytest.mark.parametrize(("kind", "num_asked"), [(0, 3), (1, 3), (2, 1), (7, 1)])
def test_every_trigger_kind_gets_an_answer(
    engine: FakeEngine, socket_path: Path, kind: int, num_asked: int
) -> None:
    """vscode-languageclient 9 sends 0 for Invoked; pygls would leave that request hanging."""
    with RawServer(*arguments_for(socket_path)) as server:
        server.initialize()
        server.open_text("x = ")
        answer = server.request(INLINE, inline_request(0, 4, kind))
        assert answer["result"]["items"][0]["insertText"] == "pass"
        assert engine.requests[0].n == num_asked
        assert server.finish() == 0


def test_an_unreadable_request_is_answered_and_the_server_lives_on(
    engine: FakeEngine, socket_path: Path
) -> None:
    with RawServer(*arguments_for(socket_path)) as server:
        server.initialize()
        server.open_text("x = ")
        broken = inline_request(0, 4)
        broken["position"] = {"line": "first", "character": 4}
        answer = server.request(INLINE, broken, "broken")
        assert answer["error"]["code"] in (-32602, -32603)
        server.send_bytes(b"{no json")
        server.notify("textDocument/didChange", {"textDocument": 7})
        server.notify("$/unheardOf", {"a": [1]})
        server.notify("textDocument/didShowCompletion", {"item": {"insertText": "x"}})
        assert server.request("no/such/method", {}, "unknown")["error"]["code"] == -32601
        answer = server.request(INLINE, inline_request(0, 4), "good")
        assert answer["result"]["items"][0]["insertText"] == "pass"
        # An error popup for each odd message would drive the user mad.
        assert [note["method"] for note in server.notes] == []
        assert server.finish() == 0


@pytest.mark.parametrize("context", ["absent", None, {}])
def test_a_request_without_context_counts_as_automatic(
    engine: FakeEngine, socket_path: Path, context: object
) -> None:
    with RawServer(*arguments_for(socket_path)) as server:
        server.initialize()
        server.open_text("x = ")
        params = {**inline_request(0, 4), "context": context}
        if context == "absent":
            del params["context"]
        answer = server.request(INLINE, params)
        assert answer["result"]["items"][0]["insertText"] == "pass"
        assert engine.requests[0].n == 1
        assert server.finish() == 0


def test_prints_cannot_break_the_protocol(engine: FakeEngine, socket_path: Path) -> None:
    """Libraries print at import or from C code; that must go to stderr, and stdin is ours alone."""
    program = (
        "import os, sys, subprocess, nemodiff_lsp.__main__ as m, nemodiff_lsp.logs as logs\n"
        "real = logs.configure_logging\n"
        "def noisy(*args):\n"
        "    print('from python', flush=True)\n"
        "    os.write(1, b'from C code\\n')\n"
        "    subprocess.run(['cat'], check=True)\n"
        "    real(*args)\n"
        "m.configure_logging = noisy\n"
        "sys.exit(m.main(sys.argv[1:]))\n"
    )
    with RawServer(*arguments_for(socket_path), program=("-c", program)) as server:
        assert "capabilities" in server.initialize()["result"]
        assert server.finish() == 0
        assert "from python" in server.stderr()
        assert "from C code" in server.stderr()


def test_source_text_stays_out_of_the_log(engine: FakeEngine, socket_path: Path) -> None:
    """At INFO, through successes, failures and messages that pygls would log whole."""
    engine.script.extend([Answer(texts=(CANARY,)), Answer(status=500, error="The engine failed.")])
    with RawServer(*arguments_for(socket_path, "--log-level", "INFO")) as server:
        server.initialize()
        server.open_text(f"{CANARY} = ")
        answer = server.request(INLINE, inline_request(0, len(CANARY) + 3), 1)
        assert answer["result"]["items"][0]["insertText"] == CANARY
        server.request(INLINE, inline_request(0, 4), 2)
        broken = inline_request(0, 4)
        broken["position"] = {"line": CANARY, "character": CANARY}
        server.request(INLINE, broken, 3)
        identifier = {"uri": f"file:///{CANARY}.py", "version": 2}
        changes = [{"text": CANARY}]
        never_opened = {"textDocument": identifier, "contentChanges": changes}
        server.notify("textDocument/didChange", never_opened)
        server.send_bytes(json.dumps({"jsonrpc": "1.0", "method": CANARY}).encode())
        server.request("workspace/executeCommand", {"command": CANARY}, 4)
        assert server.finish() == 0
        log = server.stderr()
    assert "5 forwards" in log, "the test must look at a log that holds something"
    assert CANARY not in log


def test_the_log_goes_to_a_file(engine: FakeEngine, socket_path: Path, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    arguments = arguments_for(socket_path, "--log-level", "INFO", "--log-file", str(log))
    with RawServer(*arguments) as server:
        server.initialize()
        server.open_text("x = ")
        server.request(INLINE, inline_request(0, 4))
        assert server.finish() == 0
        assert server.stderr() == ""
    assert "The engine answers" in log.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--log-file", "/"), "log file"),
        (("--engine-socket", "x" * 200), "socket path"),
        (("--engine-socket", "ftp://host"), "no engine address"),
    ],
)
def test_bad_options_are_one_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    with RawServer(*arguments) as server:
        assert server.process.wait(30) == 1
        lines = server.stderr().splitlines()
        assert len(lines) == 1
        assert sentence in lines[0]


def test_it_is_also_a_command_of_nemodiff(engine: FakeEngine, socket_path: Path) -> None:
    program = ("-m", "engine", "lsp")
    with RawServer(*arguments_for(socket_path), program=program) as server:
        server.initialize()
        server.open_text("x = ")
        answer = server.request(INLINE, inline_request(0, 4))
        assert answer["result"]["items"][0]["insertText"] == "pass"
        assert server.finish() == 0


async def test_a_bad_setting_is_named_and_its_default_used(
    start_client: StartClient, engine: FakeEngine
) -> None:
    options = {"maxTokens": 100_000, "mode": "psychic", "tempreature": 1, "seed": 7}
    client = await start_client(options=options)
    open_text(client, "x = ")
    await ask(client, inline_params(0, 4))
    request = engine.requests[0]
    assert (request.max_tokens, request.mode, request.seed) == (64, "auto", 7)
    shown = [message.message for message in client.messages]
    assert len(shown) == 3
    for key in ("maxTokens", "mode", "tempreature"):
        assert sum(repr(key) in text for text in shown) == 1
    assert "between 1 and 4096" in "".join(shown)


async def test_settings_change_while_running(start_client: StartClient, engine: FakeEngine) -> None:
    client = await start_client(options={"nemodiff": {"seed": 7}})
    open_text(client, "x = ")

    def configure(settings: object) -> None:
        params = types.DidChangeConfigurationParams(settings)
        client.workspace_did_change_configuration(params)

    configure({"nemodiff": {"maxTokens": 10, "mode": "ar"}, "python": {"x": 1}})
    await ask(client, inline_params(0, 4))
    configure({"python": {"x": 1}})
    configure(None)
    # At another place, because this one has its answer.
    await ask(client, inline_params(0, 3))
    configure({"nemodiff": {"enabled": False}})
    answer = await ask(client, inline_params(0, 4))
    assert answer is not None and len(answer.items) == 0
    seen = [(r.max_tokens, r.mode, r.seed) for r in engine.requests]
    assert seen == [(10, "ar", 7), (10, "ar", 7)]
    assert client.messages == []


async def test_odd_options_do_not_stop_the_start(
    start_client: StartClient, engine: FakeEngine
) -> None:
    client = await start_client(options=["not", "an", "object"])
    open_text(client, "x = ")
    assert texts_of(await ask(client, inline_params(0, 4))) == ["pass"]
    assert "must be an object" in client.messages[0].message


async def test_a_thousand_edits_leave_nothing_behind(engine: FakeEngine, socket_path: Path) -> None:
    """pygls keeps the future of each notification for ever; our protocol class drops them."""
    program = (
        "import sys, nemodiff_lsp.__main__ as m, nemodiff_lsp.server as s\n"
        "real = s.create_server\n"
        "def create(options):\n"
        "    global server\n"
        "    server = real(options)\n"
        "    return server\n"
        "s.create_server = create\n"
        "code = m.main(sys.argv[1:])\n"
    )
    program += (
        "\nprint('left:', len(server.protocol._request_futures), file=sys.stderr)\nsys.exit(code)\n"
    )
    with RawServer(*arguments_for(socket_path), program=("-c", program)) as server:
        server.initialize()
        server.open_text("x = ")
        for version in range(2, 1002):
            identifier = {"uri": "file:///a.py", "version": version}
            params = {"textDocument": identifier, "contentChanges": [{"text": "y" * 40}]}
            server.notify("textDocument/didChange", params)
        assert server.process.stdin is not None
        server.request("shutdown", None, "shutdown")
        server.process.stdin.close()
        server.process.wait(30)
        server.process.stdin = None
        left = int(server.stderr().rpartition("left:")[2])
        assert left < 10


def test_importing_the_server_needs_no_torch() -> None:
    program = (
        "import sys, nemodiff_lsp.server, nemodiff_lsp.__main__; print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.stdout.strip() == "False"
