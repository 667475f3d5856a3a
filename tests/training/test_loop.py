"""The loop: the same steps whether or not it is stopped in between."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from engine.training import loop
from engine.training.draft import DraftAdapter, DraftOptions
from engine.training.loop import RunSettings, TrainingError, TrainingRun
from engine.training.lora import LowRankSet
from engine.training.noise import BlockMaker
from engine.training.objective import Metrics, Objective
from tests.tiny_model import CHECKPOINT, language
from tests.training.networks import CPU, Tokens, load_network

_STEPS = 5


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take half a second each; `test_curves` draws some."""
    monkeypatch.setattr(loop, "write_curves", lambda folder: [])


class Line:
    """loss = w . x with a fixed gradient; counts what is asked of it."""

    export_name = "adapter"

    def __init__(self, loss: float = 1.0) -> None:
        self.matrix = torch.ones(2, 2, requires_grad=True)
        self.vector = torch.ones(2, requires_grad=True)
        self.loss, self.num_steps, self.num_evaluations = loss, 0, 0
        self.scale = 0.0

    def parameters(self) -> Iterator[tuple[str, torch.Tensor]]:
        yield "matrix", self.matrix
        yield "vector", self.vector

    def accumulate(self) -> Metrics:
        self.num_steps += 1
        ((self.matrix.sum() + self.vector.sum()) * self.scale * self.loss).backward()
        return {"loss": self.loss, "tokens": 7.0}

    def evaluate(self) -> Metrics:
        self.num_evaluations += 1
        return {"held_out_loss": 0.5}

    def state(self) -> dict[str, Any]:
        return {"num_steps": self.num_steps}

    def restore(self, state: dict[str, Any]) -> None:
        self.num_steps = state["num_steps"]

    def export(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "exported").write_text(str(self.num_steps))


def run_of(
    objective: Objective, folder: Path, *, resume: bool = False, facts: str = "a", **settings: Any
) -> TrainingRun:
    return TrainingRun(
        objective,
        RunSettings(**{"steps": _STEPS, "learning_rate": 1e-2, "warmup_steps": 2} | settings),
        folder,
        facts={"model": facts},
        resume=resume,
        report=lambda line: None,
    )


def curve_of(folder: Path) -> list[dict[str, Any]]:
    """Without the clock."""
    lines = [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]
    for line in lines:
        del line["seconds"]
    return lines


def drafts() -> DraftAdapter:
    """A real objective on the tiny model in fp32."""
    network = load_network(CHECKPOINT)
    documents = language.documents(3, held_out=False)
    sequences = [language.encode(next(documents).text)[:60] for _ in range(7)]
    return DraftAdapter(
        network,
        LowRankSet(
            network.config,
            rank=2,
            alpha=4,
            mask_embedding=network.mask_embedding,
            device=CPU,
            seed=0,
        ),
        Tokens(sequences),
        sequences[:1],
        DraftOptions(kinds={"draft": 0.5, "random": 0.5}, blocks_per_sequence=4),
        BlockMaker(network.config, 11, 2),
        sequences_per_step=2,
        seed=0,
    )


def test_a_run_stopped_after_every_step_is_bit_identical(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run_of(drafts(), whole, evaluate_every=2).run()
    assert not run_of(drafts(), parts, evaluate_every=2, minutes=0.0).run()
    for number in range(2, _STEPS + 1):
        run = run_of(drafts(), parts, evaluate_every=2, minutes=0.0, resume=True)
        assert run.run() == (number == _STEPS)
    assert curve_of(parts) == curve_of(whole)
    assert len(curve_of(whole)) == _STEPS
    mine, theirs = (load_file(folder / "state.safetensors") for folder in (parts, whole))
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    adapters = [
        load_file(folder / "adapter" / "adapter_model.safetensors") for folder in (parts, whole)
    ]
    assert all(torch.equal(adapters[0][name], adapters[1][name]) for name in adapters[0])


def test_a_run_that_was_killed_goes_on_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines of the curve behind the checkpoint are dropped: those steps are taken again."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run_of(drafts(), whole).run()
    run = run_of(drafts(), killed, checkpoint_minutes=0.0)
    save, num_saves = TrainingRun.save, 0

    def save_twice(self: TrainingRun) -> None:
        nonlocal num_saves
        num_saves += 1
        if num_saves <= 2:
            save(self)
        elif num_saves == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainingRun, "save", save_twice)
        with pytest.raises(KeyboardInterrupt):
            run.run()
    assert len(curve_of(killed)) == 4
    resumed = run_of(drafts(), killed, resume=True)
    assert resumed.step == 2 and len(curve_of(killed)) == 2
    assert resumed.run()
    assert curve_of(killed) == curve_of(whole)


def test_resume_without_a_run_begins_one(tmp_path: Path) -> None:
    assert run_of(Line(), tmp_path / "new", resume=True).run()


def test_a_folder_with_a_run_is_not_overwritten(tmp_path: Path) -> None:
    run_of(Line(), tmp_path).run()
    with pytest.raises(TrainingError, match="holds a run already; continue it with --resume"):
        run_of(Line(), tmp_path)


def test_other_settings_are_refused(tmp_path: Path) -> None:
    run_of(Line(), tmp_path).run()
    with pytest.raises(TrainingError, match=r"other settings \(facts\)"):
        run_of(Line(), tmp_path, resume=True, facts="b")
    with pytest.raises(TrainingError, match=r"other settings \(steps\)"):
        run_of(Line(), tmp_path, resume=True, steps=9)
    # How long it may take and how often it is judged may change.
    run_of(Line(), tmp_path, resume=True, minutes=3.0, evaluate_every=1)


@pytest.mark.parametrize(("loss", "scale"), [(math.nan, 0.0), (math.inf, 1.0)])
def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path, loss: float, scale: float) -> None:
    """Before the weights are touched, with the checkpoint as it was."""
    run_of(Line(), tmp_path, minutes=0.0).run()
    before = load_file(tmp_path / "state.safetensors")
    broken = Line(loss)
    broken.scale = scale
    run = run_of(broken, tmp_path, resume=True)
    with pytest.raises(TrainingError, match="no longer a number at step 1; lower --learning-rate"):
        run.run()
    assert torch.isfinite(broken.matrix).all()
    after = load_file(tmp_path / "state.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_schedule_by_hand() -> None:
    settings = RunSettings(steps=110, learning_rate=1.0, warmup_steps=10)
    assert settings.learning_rate_at(0) == pytest.approx(0.1)
    assert settings.learning_rate_at(9) == pytest.approx(1.0)
    assert settings.learning_rate_at(10) == pytest.approx(1.0)
    assert settings.learning_rate_at(60) == pytest.approx(0.55)
    assert settings.learning_rate_at(110) == pytest.approx(0.1)
    rates = [settings.learning_rate_at(step) for step in range(10, 111)]
    assert rates == sorted(rates, reverse=True)
    assert RunSettings(steps=5, learning_rate=1.0, warmup_steps=0).learning_rate_at(0) == 1.0


def test_only_matrices_decay(tmp_path: Path) -> None:
    objective = Line()
    run_of(objective, tmp_path, weight_decay=0.5, learning_rate=0.1, warmup_steps=0).run()
    assert torch.equal(objective.vector, torch.ones(2))
    assert bool((objective.matrix < 1.0).all())


def test_gradients_are_clipped(tmp_path: Path) -> None:
    """The norm in the curve is the one before; Adam's second moment shows the one after."""
    objective = Line()
    objective.scale = 100.0
    run_of(objective, tmp_path, steps=1, warmup_steps=0, clip=1.0).run()
    (line,) = curve_of(tmp_path)
    assert line["gradient_norm"] == pytest.approx(100.0 * math.sqrt(6), rel=1e-4)
    moment = load_file(tmp_path / "state.safetensors")["exp_avg_sq/vector"]
    torch.testing.assert_close(moment, torch.full((2,), 0.02 / 6), rtol=1e-4, atol=0)


def test_curve_counts_and_evaluates(tmp_path: Path) -> None:
    objective = Line()
    run = run_of(objective, tmp_path, evaluate_every=2)
    assert run.run()
    lines = curve_of(tmp_path)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]
    assert [line["num_tokens"] for line in lines] == [7, 14, 21, 28, 35]
    assert [at["step"] for at in lines if "held_out_loss" in at] == [2, 4, 5]
    assert run.figures == {"held_out_loss": 0.5}
    assert (tmp_path / "adapter" / "exported").read_text() == "5"


def test_a_picture_that_cannot_be_drawn_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(folder: Path) -> list[Path]:
        raise RuntimeError("no fonts")

    monkeypatch.setattr(loop, "write_curves", broken)
    lines: list[str] = []
    run = TrainingRun(
        Line(),
        RunSettings(steps=1, learning_rate=1.0),
        tmp_path,
        facts={},
        resume=False,
        report=lines.append,
    )
    assert run.run()
    assert "The curves were not drawn: no fonts" in lines
