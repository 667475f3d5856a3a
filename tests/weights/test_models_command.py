"""``nemodiff models``: what it prints, where, and its exit codes."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from engine.cli import models
from engine.weights import store
from engine.weights.gguf_import import import_gguf

from .builders import write_gguf


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NEMODIFF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    models.add_parser(parser.add_subparsers(required=True))
    args = parser.parse_args(["models", *arguments])
    code = args.run(args)
    assert isinstance(code, int)
    return code


def put(tmp_path: Path, name: str) -> Path:
    path = tmp_path / "tiny.gguf"
    write_gguf(path)
    with store.locked(name):
        return store.install(name, lambda fresh: import_gguf(path, fresh, source={"licence": "X"}))


def test_list_shows_known_and_installed_models(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = put(tmp_path, "qwen2.5-coder-0.5b")
    own = put(tmp_path, "gguf-0123")
    assert run("list") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["NAME", "SIZE", "LICENCE", "INSTALLED", "PATH"]
    assert rows[1][0] == "qwen2.5-coder-0.5b" and rows[1][-2:] == ["yes", str(folder)]
    assert rows[2][0] == "qwen2.5-coder-1.5b" and rows[2][-2:] == ["no", "-"]
    assert rows[2][1:5] == ["1.12", "GB", "to", "download"]
    assert rows[3][0] == "gguf-0123" and rows[3][-3:] == ["X", "yes", str(own)]


def test_verify_and_remove(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = put(tmp_path, "tiny")
    assert run("verify") == 0 and run("verify", "tiny") == 0
    assert capsys.readouterr().out.count("tiny: 3 files are as they were written") == 2
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(2000)
        file.write(b"changed!")
    assert run("verify", "tiny") == 1
    captured = capsys.readouterr()
    assert "model.safetensors has changed" in captured.err and captured.out == ""
    assert run("remove", "tiny") == 0
    assert not folder.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("verify",), "No model is installed"),
        (("verify", "x"), "Model 'x' is not installed"),
        (("remove", "x"), "There is no installed model 'x'"),
        (("pull", "x"), "There is no model called 'x'; the known names are"),
        (("pull", "--offline"), "Model qwen2.5-coder-0.5b is not installed and offline mode"),
    ],
)
def test_what_cannot_be_done_is_one_line_on_stderr(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    assert run(*arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"nemodiff: {message}") and captured.err.count("\n") == 1


def test_progress_without_a_terminal_is_a_line_per_phase(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with models.progress_on_stderr() as report:
        for fraction in (None, 0.1, 0.9):
            report("Downloading", fraction)
        report("Unpacking", 1.0)
    captured = capsys.readouterr()
    assert captured.err == "Downloading\nUnpacking\n" and captured.out == ""


def test_listing_models_needs_no_torch() -> None:
    code = "import sys, engine.cli.models; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_list_tells_a_truncated_model_from_a_whole_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = put(tmp_path, "qwen2.5-coder-0.5b")
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(1000)
    own = put(tmp_path, "gguf-0123")
    (own / "tokenizer.json").unlink()
    assert run("list") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[1][-2:] == ["damaged", str(folder)]
    assert rows[3][-2:] == ["damaged", str(own)]


@pytest.mark.parametrize("note", ["{", "[]", '{"form": 0}', None])
def test_verify_names_a_folder_whose_note_is_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], note: str | None
) -> None:
    broken, _ = put(tmp_path, "broken"), put(tmp_path, "whole")
    (broken / "import.json").unlink()
    if note is not None:
        (broken / "import.json").write_text(note)
    (store.models_folder() / ".whole-under-way").mkdir()
    for arguments, told in ((("verify",), "whole: 3 files"), (("verify", "broken"), "")):
        assert run(*arguments) == 1
        captured = capsys.readouterr()
        *_, last = captured.err.splitlines()
        assert last.startswith(f"nemodiff: {broken} is damaged")
        assert "nemodiff models remove broken" in last and told in captured.out
    assert run("verify", "whole") == 0
    assert run("remove", "broken") == 0 and run("verify") == 0
