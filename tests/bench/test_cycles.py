"""Case cycles: the passes of a completion whose acceptance is given."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.bench import cycles_case
from engine.bench.cycles_case import Cycles, cycle_lines
from engine.bench.forward_case import Grid, Point, work_of
from engine.bench.paths import parse_paths
from engine.bench.subject import Subject, load_subjects
from engine.config import EngineConfig


@pytest.fixture(scope="module")
def subject(qwen: Path) -> Subject:
    common = EngineConfig(model=str(qwen), device="cpu", num_threads=1)
    return load_subjects(parse_paths("fp32"), common, None)[0]


@pytest.mark.parametrize(
    ("num_tokens", "accepted", "num_cycles"), [(24, 6, 4), (25, 6, 4), (26, 6, 5), (1, 6, 0)]
)
def test_the_typed_token_is_read_then_cycles_follow(
    num_tokens: int, accepted: int, num_cycles: int
) -> None:
    points = Cycles(32, 2048, accepted).points(num_tokens)
    assert points[0] == Point("verify", 1, 1, 2048)
    assert [each.mode for each in points[1:]] == ["draft", "verify"] * num_cycles
    assert {(each.block, each.cached) for each in points[1:]} <= {(32, 2048)}


def test_every_pass_is_done_and_waited_for(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    real = cycles_case.pass_of

    def noted(subject: Subject, point: Point) -> object:
        run = real(subject, point)

        def go() -> torch.Tensor:
            done.append(f"{point.mode} {point.block}")
            return run()

        return go

    monkeypatch.setattr(cycles_case, "pass_of", noted)
    grid = Grid(["verify"], [8, 16], [1], [16, 10**6])
    made = cycle_lines([subject], grid, [5, 9], 2)
    assert [line.keys["tokens"] for line, _ in made] == [5, 9]
    line, variant = made[0]
    variant.sample(0)
    assert done == ["verify 1", "draft 8", "verify 8", "draft 8", "verify 8"]
    assert line.keys["passes"] == len(done)
    works = [work_of(subject, point) for point in Cycles(8, 16, 2).points(5)]
    assert line.work is not None
    assert line.work.num_bytes == pytest.approx(sum(each.num_bytes for each in works))
    assert line.work.flops == pytest.approx(sum(each.flops for each in works))
