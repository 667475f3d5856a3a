"""Input that `nemodiff complete` cannot use: one sentence on stderr, exit code 1, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_engine import Answer, FakeEngine

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]

AT_START = ("--line", "1", "--column", "0")
MIB = 2**20


def assert_one_sentence(result: subprocess.CompletedProcess[bytes], *parts: str) -> None:
    assert result.returncode == 1
    assert result.stdout == b""
    lines = result.stderr.decode().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("nemodiff: ") and lines[0].endswith(".")
    for part in parts:
        assert part in lines[0]


@pytest.mark.parametrize(
    ("name", "data", "parts"),
    [
        ("missing.py", None, ("missing.py does not exist",)),
        (".", None, (". is a folder",)),
        ("a.py/b.py", b"", ("cannot be read", "Not a directory")),
        ("a.py", b"x = 1\nPK\x03\x00rest", ("byte 9 is NUL",)),
        ("a.py", b"x = '\xe9'\n", ("not UTF-8", "byte 5 (0xe9)")),
        ("a.py", b"x = '\xc3", ("not UTF-8", "byte 5 (0xc3)")),
        ("a.py", "x = 1\n".encode("utf-16"), ("UTF-16",)),
        ("a.py", b"x" * (4 * MIB + 1), ("more than 4 MiB",)),
        ("", None, ("does not exist",)),
    ],
)
def test_a_bad_file(
    nemodiff: Run,
    engine: FakeEngine,
    tmp_path: Path,
    name: str,
    data: bytes | None,
    parts: tuple[str, ...],
) -> None:
    if data is not None:
        (tmp_path / "a.py").write_bytes(data)
    assert_one_sentence(nemodiff("complete", name, *AT_START), *parts)
    assert engine.requests == []


@pytest.mark.parametrize(
    ("data", "line", "column", "parts"),
    [
        (b"a\nbc\n", 0, 0, ("Line 0", "lines 1 to 3")),
        (b"a\nbc\n", 4, 0, ("Line 4", "lines 1 to 3")),
        (b"a\nbc\n", -1, 0, ("Line -1",)),
        (b"a\nbc\n", 2, 3, ("Column 3", "columns 0 to 2")),
        (b"a\nbc\n", 3, 1, ("Column 1", "only column 0")),
        (b"a\nbc\n", 1, -1, ("Column -1", "columns 0 to 1")),
        # The carriage return belongs to the line end; an emoji is one character.
        (b"a\r\nbc\r\n", 1, 2, ("Column 2", "columns 0 to 1")),
        ("\U0001f600".encode(), 1, 2, ("Column 2", "columns 0 to 1")),
        (b"", 1, 1, ("Column 1", "only column 0")),
        (b"", 2, 0, ("Line 2", "only line 1")),
        (b"x\x00", 1, 0, ("Standard input", "byte 1 is NUL")),
    ],
)
def test_a_bad_cursor(
    nemodiff: Run, engine: FakeEngine, data: bytes, line: int, column: int, parts: tuple[str, ...]
) -> None:
    cursor = ("--line", str(line), "--column", str(column))
    assert_one_sentence(nemodiff("complete", "-", *cursor, stdin=data), *parts)
    assert engine.requests == []


@pytest.mark.parametrize(
    ("option", "value", "valid"),
    [
        ("--max-tokens", "0", "between 1 and"),
        ("--block-size", "4", "between 8 and 32"),
        ("--confidence-threshold", "1.5", "between 0 and 1"),
        ("--max-denoising-steps", "-3", "between 1 and"),
        ("--temperature", "nan", "between 0 and 2"),
        ("--deadline-ms", "0", "between 1 and"),
        ("--n", "99", "between 1 and 8"),
    ],
)
def test_an_option_out_of_range(
    nemodiff: Run, engine: FakeEngine, option: str, value: str, valid: str
) -> None:
    result = nemodiff("complete", "-", *AT_START, option, value)
    assert_one_sentence(result, f"{option} must lie", valid)
    assert engine.requests == []


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--line", "one", "--column", "0"),
        ("--line", "1", "--column", "0", "--mode", "psychic"),
        ("--line", "1", "--column", "0", "--in-process", "--engine-socket", "x"),
    ],
)
def test_wrong_usage_tells_the_usage(nemodiff: Run, arguments: tuple[str, ...]) -> None:
    result = nemodiff("complete", "-", *arguments)
    assert result.returncode == 2
    assert result.stderr.startswith(b"usage: nemodiff complete")
    assert b"Traceback" not in result.stderr


def test_a_named_engine_that_is_not_there(nemodiff: Run, tmp_path: Path) -> None:
    result = nemodiff("complete", "-", *AT_START, "--engine-socket", "none.sock")
    assert_one_sentence(result, "No engine listens", "none.sock")


def test_an_address_that_is_none(nemodiff: Run) -> None:
    result = nemodiff("complete", "-", *AT_START, "--engine-socket", "ftp://x")
    assert_one_sentence(result, "no engine address")


def test_a_named_engine_with_another_model(
    nemodiff: Run, engine: FakeEngine, runtime_folder: Path
) -> None:
    socket = str(runtime_folder / "engine.sock")
    result = nemodiff("complete", "-", *AT_START, "--engine-socket", socket, "--model", "other")
    assert_one_sentence(result, "runs fake-model, not other")


def test_an_engine_that_refuses(nemodiff: Run, engine: FakeEngine) -> None:
    engine.default = Answer(status=503, error="The model could not be loaded.")
    assert_one_sentence(nemodiff("complete", "-", *AT_START), "The model could not be loaded.")


def test_a_pipe_or_device_as_the_file_is_not_waited_on(
    nemodiff: Run, engine: FakeEngine, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    for name in ("pipe.py", "/dev/zero"):
        assert_one_sentence(nemodiff("complete", name, *AT_START), f"{name} is not a regular file")
    assert engine.requests == []


@pytest.mark.parametrize("name", ["-", "/dev/stdin", "/dev/fd/0"])
def test_standard_input_by_any_of_its_names(nemodiff: Run, engine: FakeEngine, name: str) -> None:
    assert nemodiff("complete", name, *AT_START, stdin=b"x = 1").returncode == 0
    assert engine.requests[0].suffix == "x = 1"


def test_a_nul_in_a_name() -> None:
    # A shell cannot pass one, a program that calls `main` can.
    for arguments in (
        ["complete", "a\0b", *AT_START],
        ["engine", "serve", "--socket", "a\0b/e.sock"],
    ):
        assert_one_sentence(in_child(f"main({arguments!r})"), "NUL")


def in_child(call: str) -> subprocess.CompletedProcess[bytes]:
    code = f"import sys; from engine.cli.main import main; sys.exit({call})"
    root = Path(__file__).parents[2]
    return subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, timeout=120)


def shell(line: str, tmp_path: Path) -> subprocess.CompletedProcess[bytes]:
    """`nemodiff` run by a shell, which can close a stream before the command starts."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "NEMODIFF_RUNTIME_DIR": str(tmp_path / "run"),
        "NEMODIFF_CACHE": str(tmp_path / "cache"),
    }
    command = line.replace("nemodiff", f"exec '{sys.executable}' -m engine")
    return subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, timeout=120
    )


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("nemodiff models list >&-", "Standard output is closed"),
        ("nemodiff engine serve --socket run/e.sock >&-", "Standard output is closed"),
        ("nemodiff lsp >&-", "Standard output is closed"),
        ("nemodiff models list >&- <&-", "Standard output is closed"),
        ("nemodiff complete - --line 1 --column 0 <&-", "Standard input is closed"),
        ("nemodiff complete /dev/stdin --line 1 --column 0 <&-", "Standard input is closed"),
        ("nemodiff lsp <&-", "Standard input is closed"),
    ],
)
def test_a_closed_stream(tmp_path: Path, line: str, told: str) -> None:
    assert_one_sentence(shell(line, tmp_path), told)


def test_a_closed_stderr_sends_no_error_to_stdout(tmp_path: Path) -> None:
    result = shell("nemodiff models remove nothing 2>&-", tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (1, b"", b"")


def test_what_needs_no_stdin_works_without_it(tmp_path: Path) -> None:
    result = shell("nemodiff models list <&-", tmp_path)
    assert (result.returncode, result.stderr) == (0, b"") and b"INSTALLED" in result.stdout


def test_an_empty_model_name(nemodiff: Run, engine: FakeEngine) -> None:
    result = nemodiff("complete", "-", *AT_START, "--model", "", stdin=b"x = ")
    assert result.returncode == 1 and result.stdout == b""
    last = result.stderr.decode().splitlines()[-1]
    assert last.startswith("nemodiff: The model's name is empty; the known names are qwen2.5")
    assert engine.requests == []


@pytest.mark.parametrize("where", [(), ("--engine-socket", "x.sock")])
@pytest.mark.parametrize("flag", ["--draft-adapter=none", "--causal-adapter=here"])
def test_adapters_of_an_engine_that_runs(
    nemodiff: Run, engine: FakeEngine, where: tuple[str, ...], flag: str
) -> None:
    """A running engine has its adapters; the flags must not seem to change them."""
    result = nemodiff("complete", "-", *AT_START, *where, flag)
    assert_one_sentence(result, "--draft-adapter", "--in-process")
    assert engine.requests == []
