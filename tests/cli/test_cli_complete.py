"""`nemodiff complete` as a user runs it: a process, files, a fake engine on a socket."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_engine import Answer, FakeEngine

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]

SOURCE = b"def add(a, b):\n    return \n\nprint(add(1, 2))\n"


def complete_json(nemodiff: Run, *arguments: str, stdin: bytes = b"") -> dict[str, Any]:
    result = nemodiff("complete", *arguments, "--json", stdin=stdin)
    assert (result.returncode, result.stderr) == (0, b"")
    body = json.loads(result.stdout)
    assert isinstance(body, dict)
    return body


def test_json_has_the_promised_keys(nemodiff: Run, engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(SOURCE)
    engine.default = Answer(texts=("a + b",))
    body = complete_json(nemodiff, "a.py", "--line", "2", "--column", "11")
    assert body == {
        "text": "a + b",
        "mode": "diffusion",
        "route": "fim",
        "route_reason": "There is text after the cursor.",
        "finish_reason": "stop",
        "model": "fake-model",
        "tokens": 12,
        "forwards": 5,
        "score": -0.25,
        "gated": False,
        "timings_ms": {"prefill": 3.0, "decode": 7.5, "total": 10.5},
    }
    (request,) = engine.requests
    assert request.prompt == "def add(a, b):\n    return "
    assert request.suffix == "\n\nprint(add(1, 2))\n"


def test_alternatives_follow_the_best(nemodiff: Run, engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(SOURCE)
    engine.default = Answer(texts=("a + b", "b + a", "0"))
    body = complete_json(nemodiff, "a.py", "--line", "2", "--column", "11", "--n", "3")
    assert body["text"] == "a + b"
    assert body["alternatives"] == ["b + a", "0"]


def test_every_option_reaches_the_engine(nemodiff: Run, engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(SOURCE)
    options = {
        "mode": "linear_spec",
        "max_tokens": 9,
        "block_size": 16,
        "confidence_threshold": 0.75,
        "max_denoising_steps": 3,
        "temperature": 0.5,
        "seed": 42,
        "n": 2,
        "deadline_ms": 1500.0,
        "model": "fake-model",
    }
    flags: list[str] = []
    for name, value in options.items():
        flags += [f"--{name.replace('_', '-')}", str(value)]
    complete_json(nemodiff, "a.py", "--line", "1", "--column", "0", *flags)
    asked = engine.requests[0].to_json()
    assert {name: asked[name] for name in options} == options


@pytest.mark.parametrize(
    ("data", "line", "column", "prompt", "suffix", "text"),
    [
        # The answer has the line ends of the file around the cursor.
        (b"if x:\r\n    \r\ny\r\n", 2, 4, "if x:\n    ", "\ny\n", "one\r\ntwo"),
        (b"if x:\r    \ry\r", 2, 4, "if x:\n    ", "\ny\n", "one\rtwo"),
        (b"if x:\n\t\ny", 2, 1, "if x:\n\t", "\ny", "one\ntwo"),
        (b"a\nb\r\nc\r\n", 3, 1, "a\nb\nc", "\n", "one\r\ntwo"),
        # An empty file, the end of a file with and without a final line end.
        (b"", 1, 0, "", "", "one\ntwo"),
        (b"x = 1", 1, 5, "x = 1", "", "one\ntwo"),
        (b"x = 1\n", 2, 0, "x = 1\n", "", "one\ntwo"),
        # Columns count characters: an emoji is one, a letter and its combining mark are two.
        ("s = '\U0001f600' + x".encode(), 1, 7, "s = '\U0001f600'", " + x", "one\ntwo"),
        ("e\u0301 = 1".encode(), 1, 2, "e\u0301", " = 1", "one\ntwo"),
        (
            "\U0001f468\u200d\U0001f469 = 1".encode(),
            1,
            1,
            "\U0001f468",
            "\u200d\U0001f469 = 1",
            "one\ntwo",
        ),
        # A byte order mark is no text, and form feeds and U+2028 end no line.
        (b"\xef\xbb\xbfx = 1", 1, 0, "", "x = 1", "one\ntwo"),
        ("a\x0cb\u2028c\nd".encode(), 2, 1, "a\x0cb\u2028c\nd", "", "one\ntwo"),
    ],
)
def test_text_is_kept_exactly(
    nemodiff: Run,
    engine: FakeEngine,
    data: bytes,
    line: int,
    column: int,
    prompt: str,
    suffix: str,
    text: str,
) -> None:
    engine.default = Answer(texts=("one\ntwo",))
    body = complete_json(nemodiff, "-", "--line", str(line), "--column", str(column), stdin=data)
    assert body["text"] == text
    assert (engine.requests[0].prompt, engine.requests[0].suffix) == (prompt, suffix)


def test_a_long_file_sends_a_window(nemodiff: Run, engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "long.py").write_bytes(b"value = 'some text'\n" * 20_000)
    complete_json(nemodiff, "long.py", "--line", "10000", "--column", "5")
    (request,) = engine.requests
    assert request.prompt.startswith("value = ") and request.prompt.endswith("text'\nvalue")
    assert 60_000 < len(request.prompt) <= 64_000
    assert len(request.suffix) == 16_000


def test_the_completion_is_shown_in_place(
    nemodiff: Run, engine: FakeEngine, tmp_path: Path
) -> None:
    (tmp_path / "a.py").write_bytes(SOURCE)
    engine.default = Answer(texts=("a + \\\n        b",))
    result = nemodiff("complete", "a.py", "--line", "2", "--column", "11")
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.decode().splitlines() == [
        "1 | def add(a, b):",
        "2 +     return a + \\",
        "3 +         b",
        "4 | ",
        "5 | print(add(1, 2))",
        "6 | ",
        "",
        "fim | diffusion | 12 tokens | 5 forwards | 2.40 tokens/forward | 10 ms | fake-model",
    ]
    assert (tmp_path / "a.py").read_bytes() == SOURCE


def test_only_a_few_lines_are_shown(nemodiff: Run, engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("".join(f"line_{n}\n" for n in range(1, 101)))
    result = nemodiff("complete", "a.py", "--line", "50", "--column", "7")
    shown = result.stdout.decode().split("\n\n")[0].splitlines()
    assert shown == [
        *(f"{n} | line_{n}" for n in range(46, 50)),
        "50 + line_50pass",
        *(f"{n} | line_{n}" for n in range(51, 55)),
    ]


def test_the_deadline_is_told(nemodiff: Run, engine: FakeEngine) -> None:
    engine.default = Answer(texts=("a +",), finish_reason="deadline")
    result = nemodiff("complete", "-", "--line", "1", "--column", "0")
    assert b"the deadline passed: this is the best draft so far" in result.stdout


def test_a_closed_gate_is_told(nemodiff: Run, engine: FakeEngine) -> None:
    engine.default = Answer(texts=("",), gated=True)
    result = nemodiff("complete", "-", "--line", "1", "--column", "0")
    assert b"nothing worth offering (--no-gate shows it all the same)" in result.stdout
    assert complete_json(nemodiff, "-", "--line", "1", "--column", "0", "--no-gate")["gated"]
    assert [request.gate for request in engine.requests] == [True, False]


def test_control_codes_cannot_reach_the_terminal(nemodiff: Run, engine: FakeEngine) -> None:
    engine.default = Answer(texts=("x\x1b]0;title\x07\x9b2J\u202ey",))
    result = nemodiff("complete", "-", "--line", "1", "--column", "1", stdin=b"a\x1b[31mb\n")
    shown = result.stdout.decode()
    assert not set("\x1b\x07\x9b\u202e") & set(shown)
    assert "x\u241b]0;title\u2407" in shown


def test_colours_only_on_a_terminal(
    nemodiff: Run, engine: FakeEngine, runtime_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.py").write_bytes(SOURCE)
    arguments = ["complete", "a.py", "--line", "2", "--column", "11"]
    assert b"\x1b" not in nemodiff(*arguments).stdout
    terminal, its_other_end = pty.openpty()
    environment = {
        **os.environ,
        "NEMODIFF_RUNTIME_DIR": str(runtime_folder),
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "TERM": "xterm-256color",
    }
    environment.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "engine", *arguments]
    process = subprocess.Popen(command, stdout=its_other_end, cwd=tmp_path, env=environment)
    os.close(its_other_end)
    output = b""
    # Linux reports the end of a terminal as an input/output error.
    with contextlib.suppress(OSError):
        while piece := os.read(terminal, 4096):
            output += piece
    os.close(terminal)
    assert process.wait(60) == 0
    assert b"\x1b[1;32mpass\x1b[0m" in output


def test_a_terminal_without_unicode_ends_nothing(nemodiff: Run, engine: FakeEngine) -> None:
    source = "x = '\U0001f600\u4e16'".encode()
    variables = {"PYTHONIOENCODING": "ascii:strict"}
    result = nemodiff("complete", "-", "--line", "1", "--column", "0", stdin=source, **variables)
    assert (result.returncode, result.stderr) == (0, b"")


def test_another_model_than_the_engines_runs_in_this_process(
    nemodiff: Run, engine: FakeEngine, tmp_path: Path
) -> None:
    missing = str(tmp_path / "no" / "such" / "model")
    result = nemodiff("complete", "-", "--line", "1", "--column", "0", "--model", missing)
    assert result.returncode == 1
    assert "such/model does not exist" in result.stderr.decode().splitlines()[-1]
    assert engine.requests == []
