"""A measurement with an engine of its own: started, asked, and gone afterwards."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from engine.cli import evaluate
from engine.evaluation import own_engine as own_engine_module
from engine.evaluation.configurations import EngineName
from engine.evaluation.own_engine import own_engine, wait_until_loaded
from engine.messages.client import EngineClient, EngineUnavailable
from engine.messages.completion import CompletionRequest

TINY = Path(__file__).parents[1] / "tiny_model" / "checkpoint"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_engine_lives_as_long_as_the_block() -> None:
    phases: list[str] = []
    with own_engine(["--model", str(TINY), "--device", "cpu", "--threads", "1"]) as address:
        health = wait_until_loaded(address, lambda phase, fraction: phases.append(phase))
        assert health["engine"]["model"] == str(TINY)
        assert _is_alive(health["pid"])
        with EngineClient(address) as client:
            answer = client.complete(CompletionRequest(prompt="a", max_tokens=4, mode="ar"))
        assert answer.facts.mode == "ar"
    assert phases
    assert all(phase.startswith("loading the model: ") for phase in phases)
    assert address.socket is not None
    assert not address.socket.parent.exists()


@pytest.mark.parametrize(("name", "has_adapter"), [("engine", True), ("bare base", False)])
def test_the_bare_base_is_the_same_model_without_adapters(
    name: EngineName, has_adapter: bool
) -> None:
    """The flags of the command reach the engine, and it understands them."""
    parser = argparse.ArgumentParser()
    evaluate.add_parser(parser.add_subparsers())
    flags = ["--model", str(TINY), "--device", "cpu", "--dtype", "float32", "--threads", "1"]
    args = parser.parse_args(["eval", "fresh", "--data", "rows.jsonl", *flags])
    with evaluate._engine(args, name) as address:
        facts = wait_until_loaded(address, lambda phase, fraction: None)["engine"]
    assert (facts["model"], facts["dtype"], facts["num_threads"]) == (str(TINY), "float32", 1)
    assert (facts["draft_adapter"] is not None) is has_adapter
    assert facts["causal_adapter"] is None


def test_a_model_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    folder = shutil.copytree(TINY, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "mystery"}))
    with (
        pytest.raises(EngineUnavailable, match="mystery") as caught,
        own_engine(["--model", str(folder), "--device", "cpu"]) as address,
    ):
        wait_until_loaded(address, lambda phase, fraction: None)
    assert not str(caught.value).startswith("nemodiff")
    assert address.socket is not None
    assert not address.socket.parent.exists()


def test_an_engine_that_dies_is_told_with_the_last_line_of_its_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A killed process writes no last sentence, so there is nothing to wait for.
    monkeypatch.setattr(own_engine_module, "_PARTING_S", 0.0)
    with (
        pytest.raises(EngineUnavailable, match=r"the last line of its log is: .* INFO "),
        own_engine(["--model", str(TINY), "--device", "cpu", "--threads", "1"]) as address,
    ):
        pid = wait_until_loaded(address, lambda phase, fraction: None)["pid"]
        with EngineClient(address) as client:
            os.kill(pid, signal.SIGKILL)
            # The kernel closes its socket at some moment of its end.
            while True:
                client.health()
