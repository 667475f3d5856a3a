"""Emacs with lsp-mode, in batch: a completion is shown and accepted; the engine is scripted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from get_emacs import emacs_command, emacs_folder, lisp_packages

ROOT = Path(__file__).resolve().parents[2]
ENGINE = ROOT / "tests" / "rigs" / "neovim_engine.py"
FOLDER = Path(os.environ.get("NEMODIFF_EMACS", emacs_folder()))
EMACS = emacs_command(FOLDER)

pytestmark = pytest.mark.skipif(EMACS is None, reason="Emacs is not here: run `make rigs`")


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[Path]:
    """Where an engine that knows one line listens."""
    path, script = tmp_path / "engine.sock", tmp_path / "script.json"
    script.write_text(json.dumps([["return sum(self.counts.values())"]]), encoding="utf-8")
    command = [sys.executable, str(ENGINE), str(path), str(script), "1"]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}) as engine:
        while not path.exists():
            assert engine.poll() is None, "the engine did not start"
        yield path
        engine.kill()


def test_a_completion_is_accepted(socket: Path, tmp_path: Path) -> None:
    assert EMACS is not None
    command, environment = EMACS
    file = tmp_path / "stock.py"
    file.write_text("class Stock:\n    def total(self) -> int:\n        ", encoding="utf-8")
    server = [sys.executable, "-m", "nemodiff_lsp", "--engine-socket", str(socket)]
    packages = [ROOT / "editors" / "emacs", *lisp_packages(FOLDER)]
    environment |= {
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "NEMODIFF_TEST_LISP": ":".join(str(path) for path in packages),
        "NEMODIFF_TEST_COMMAND": "\n".join([*server, "--no-engine-start"]),
        "NEMODIFF_TEST_FILE": str(file),
        "NEMODIFF_TEST_TYPED": "return sum",
    }
    script = ROOT / "tests" / "rigs" / "emacs_accept.el"
    run = subprocess.run(
        [*command, "--batch", "-Q", "-l", str(script)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert "offered:" in run.stderr
    assert file.read_text(encoding="utf-8").rstrip().endswith("return sum(self.counts.values())")
    assert "why: NemoDiff:" in run.stderr


def test_it_compiles_without_a_warning(tmp_path: Path) -> None:
    assert EMACS is not None
    command, environment = EMACS
    source = tmp_path / "nemodiff.el"
    source.write_bytes((ROOT / "editors" / "emacs" / "nemodiff.el").read_bytes())
    folders = [word for path in lisp_packages(FOLDER) for word in ("-L", str(path))]
    strict = "(setq native-comp-enable-subr-trampolines nil byte-compile-error-on-warn t)"
    compile_it = ["--eval", strict, "-f", "batch-byte-compile", str(source)]
    run = subprocess.run(
        [*command, "--batch", "-Q", *folders, *compile_it],
        env={**os.environ, **environment, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert source.with_suffix(".elc").exists()
