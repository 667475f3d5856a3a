"""The table of what rounded weights cost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from engine.errors import EngineError
from engine.native import __main__ as command
from engine.native import quality


def test_unknown_weights_are_refused_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise AssertionError("a model was asked for")

    monkeypatch.setattr(quality, "resolve_model", fail)
    with pytest.raises(EngineError, match="'int2' are not known here: use bfloat16, int8"):
        quality.quality_table("any", 1, 8, ["int4", "int2"])
    assert command.main(["quality", "--weights", "int2"]) == 1
    assert "int2" in capsys.readouterr().err


def test_a_tally_is_of_both_distributions() -> None:
    tally = quality.Tally()
    reference = torch.tensor([[0.0, 0.0], [9.0, 0.0]])
    tally.add(reference, torch.tensor([[0.0, 1.0], [9.0, 0.0]]), [1, 0])
    log_q = torch.log_softmax(torch.tensor([0.0, 1.0]), dim=0)
    assert tally.kl == pytest.approx(float(-0.5 * log_q.sum() - torch.tensor(2.0).log()), abs=1e-6)
    assert (tally.num_rows, tally.num_agreeing) == (2, 1)
    rest = float(torch.log_softmax(reference[1], dim=0)[0])
    assert tally.nll == pytest.approx(-float(log_q[1]) - rest, abs=1e-6)


@pytest.mark.slow
def test_fewer_bits_cost_more(default_model: Path) -> None:
    names = ["bfloat16", "int8 (GPU)", "fp8", "int4"]
    lines = quality.quality_table(os.fspath(default_model), 1, 48, names).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["float32", *names]
    distances = [float(line.split("|")[3]) for line in lines[2:]]
    assert distances[0] == 0.0 and distances == sorted(distances)
    assert distances[-1] < 0.5
