"""`nemodiff train recipe`: its stages are commands that exist and together lead to a report."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.cli.main import _parser
from engine.config import DEFAULT_MODEL
from engine.models.config import read_model_config
from engine.weights import store
from engine.weights.adapters import read_adapter

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


def commands_of(result: subprocess.CompletedProcess[bytes]) -> list[list[str]]:
    lines = result.stderr.decode().splitlines()
    return [shlex.split(line[2:]) for line in lines if line.startswith("$ ")]


@pytest.mark.parametrize("size", ["tiny", "smoke", "full"])
def test_a_dry_run_prints_commands_that_can_be_parsed(nemodiff: Run, size: str) -> None:
    options = ("--decontaminate", "bench", "--languages", "python,go", "--dry-run")
    result = nemodiff("train", "recipe", "--out", "run", "--size", size, *options)
    assert result.returncode == 0, result.stderr.decode()
    commands = commands_of(result)
    assert [command[1:3] for command in commands] == [
        ["train", "data"],
        ["train", "causal"],
        ["train", "draft"],
        ["eval", "cut"],
        ["eval", "fresh"],
    ]
    for command in commands:
        # argparse leaves with SystemExit where an option does not exist.
        _parser(command[1:]).parse_args(command[1:])
    assert not Path("run").exists()


@pytest.mark.slow
@pytest.mark.skipif(
    store.find(DEFAULT_MODEL) is None,
    reason=f"{DEFAULT_MODEL} is not in the cache (run `nemodiff models pull`)",
)
@pytest.mark.timeout(3600)
def test_the_tiny_recipe_ends_in_adapters_and_a_report(nemodiff: Run, tmp_path: Path) -> None:
    cache = os.environ.get("NEMODIFF_CACHE", str(store.cache_folder()))
    arguments = ("train", "recipe", "--out", "run", "--size", "tiny")
    # Minutes of training, and more of them where another test has half of the machine.
    result = nemodiff(*arguments, timeout_s=2400, NEMODIFF_CACHE=cache)
    assert result.returncode == 0, result.stderr.decode()[-2000:]
    installed = store.find(DEFAULT_MODEL)
    assert installed is not None
    config = read_model_config(installed.folder / "config.json")
    run = tmp_path / "run"
    assert read_adapter(run / "causal" / "adapter", config).mask_embedding is None
    assert read_adapter(run / "draft" / "adapter", config).mask_embedding is not None
    report = json.loads((run / "report.json").read_text())
    labels = [each["label"] for each in report["configurations"]]
    assert labels[:2] == ["ar, bare base", "ar"]
    again = nemodiff(*arguments, timeout_s=600, NEMODIFF_CACHE=cache)
    # Every stage's result is there, so nothing is trained a second time.
    assert again.returncode == 0 and b"step 1 of" not in again.stderr
