"""Every case runs with small numbers, and its report holds what is promised."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.bench import memory_case
from engine.bench.cancel_case import cancelled
from engine.bench.completion_case import Asked, completion_lines
from engine.bench.costs import Storage
from engine.bench.forward_case import Grid, Point, forward_lines
from engine.bench.options import build_parser
from engine.bench.paths import EnginePath, parse_paths
from engine.bench.plan import Plan, plan_of
from engine.bench.prompts import CodeHole, code_holes
from engine.bench.report import markdown
from engine.bench.rounds import Schedule, measure
from engine.bench.run import run_bench
from engine.bench.shapes import SHAPES, Shape
from engine.bench.subject import Subject, load_subjects
from engine.config import EngineConfig
from engine.engine import Engine
from engine.errors import EngineError
from tests.models.checkpoints import QWEN_CONFIG

HOLE = CodeHole("a", "def add(a, b):\n    return", "\n\nprint(add(1, 2))\n")


def plan(case: str, *options: str, model: Path | str | None = None) -> Plan:
    more = [] if model is None else ["--model", str(model)]
    # How weights are stored is not left to a measurement here.
    more += [] if "--paths" in options else ["--paths", "fp32"]
    args = build_parser().parse_args(
        [case, "--quick", "--device", "cpu", "--rounds", "2", "--prompts", "1", *more, *options]
    )
    return replace(plan_of(args), is_small=True)


@pytest.fixture(scope="module")
def subjects(qwen: Path) -> list[Subject]:
    common = EngineConfig(model=str(qwen), device="cpu", num_threads=1)
    return load_subjects(parse_paths("fp32,bf16"), common, None, [32])


def by_name(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in rows}


def test_forward_has_every_mode_beside_its_floor_and_the_other_path(qwen: Path) -> None:
    sizes = ("--blocks", "8,1", "--rows", "1,3", "--cached", "32")
    asked = plan("forward", "--paths", "fp32,bf16", *sizes, model=qwen)
    report = run_bench(replace(asked, peers=replace(asked.peers, use_transformers=False)))
    rows = by_name(report["cases"]["forward"])
    points = ["verify block 8 rows 1", "verify block 1 rows 1", "draft block 8 rows 1"]
    points += ["shared block 8 rows 1", "verify block 8 rows 3"]
    assert set(rows) == {f"{path}: {p} cached 32" for path in ("fp32", "bf16") for p in points}
    for row in rows.values():
        assert row["num_samples"] == 2
        assert row["median_ms"] > 0
        assert row["floor_ms"] == max(row["floor_memory_ms"], row["floor_compute_ms"]) > 0
        assert row["x_floor"] > 0
        assert row["bound"] in ("memory", "compute")
        (other,) = row["versus"]
        assert {other, row["path"]} == {"fp32", "bf16"}
    assert set(report["ceilings"]["product_gflop_per_s"]) == {"float32", "bfloat16"}
    one, eight = (rows[f"fp32: verify block {size} rows 1 cached 32"] for size in (1, 8))
    assert one["num_bytes"] < eight["num_bytes"] < 2 * one["num_bytes"]
    assert eight["flops"] > 7 * one["flops"]
    assert report["settings"]["paths"]["fp32"] == {"dtype": "float32", "weights": "full"}
    assert "transformers eager: left out" in markdown(report)
    assert str(qwen.parent) not in json.dumps(report)


def test_a_draft_runs_its_masks_with_the_adapter_and_a_verify_none(
    subjects: list[Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[tuple[int, ...], bool, int]] = []
    subject = subjects[0]
    mask, forward = subject.decoder.config.mask_token_id, subject.decoder.forward

    def spy(self: object, ids: torch.Tensor, cache: Any, **named: Any) -> torch.Tensor:
        seen.append((tuple(ids.shape), named["draft_adapter"], int((ids == mask).sum())))
        return forward(ids, cache, **named)

    monkeypatch.setattr(type(subject.decoder), "forward", spy)
    grid = Grid(["verify", "draft", "shared"], [8], [2], [32])
    made = forward_lines([subject], [], grid)
    measure([variant for _, variant in made], Schedule(num_rounds=0))
    # A draft of 8 with next-position logits: the seed and six masks; half of `shared` is visible.
    assert sorted(seen) == [((2, 7), True, 12), ((2, 8), False, 0), ((2, 8), True, 8)]
    assert subject.cache(32).length == 32
    assert [line.work is not None for line, _ in made] == [True] * 3


def test_the_grid_varies_one_dimension_or_all(subjects: list[Subject]) -> None:
    config = subjects[0].decoder.config
    grid = Grid(["verify", "draft"], [8, 1], [1, 2], [16, 9_999])
    assert grid.points(config) == [
        Point("verify", 8, 1, 16),
        Point("verify", 1, 1, 16),
        Point("draft", 8, 1, 16),
        Point("verify", 8, 2, 16),
        # The model has 2048 positions.
        Point("verify", 8, 1, 2040),
    ]
    # A draft of one token would be no draft.
    assert len(replace(grid, is_full=True).points(config)) == 4 * (2 + 1)


def test_prefill_reads_all_tokens_and_keeps_none(qwen: Path) -> None:
    report = run_bench(plan("prefill", "--no-transformers", "--lengths", "70,9", model=qwen))
    rows = report["cases"]["prefill"]
    assert [row["length"] for row in rows] == [70, 9]
    assert all(row["x_floor"] > 0 and row["num_samples"] == 2 for row in rows)
    assert rows[0]["flops"] > 7 * rows[1]["flops"]


def test_completion_tells_tokens_forwards_and_thresholds(qwen: Path) -> None:
    options = ("--tokens", "6", "--completion-modes", "ar,linear_spec", "--thresholds", "0.2,0.9")
    report = run_bench(plan("completion", "--no-transformers", *options, model=qwen))
    rows = by_name(report["cases"]["completion"])
    assert len(rows) == 4
    warm, cold = rows["fp32: ar 6 tokens warm"], rows["fp32: ar 6 tokens cold"]
    assert warm["cached_tokens"] == warm["prompt_tokens"] - 1
    assert cold["cached_tokens"] == 0
    assert warm["tokens"] == cold["tokens"] > 0
    # The prefill's last logits give the first token.
    assert warm["forwards"] == warm["tokens"] - 1
    assert cold["flops"] > warm["flops"]
    assert set(warm["versus"]) == {"fp32 linear_spec"}
    assert warm["ms_per_token"] > 0
    thresholds = report["cases"]["threshold"]
    assert [(row["mode"], row["threshold"]) for row in thresholds] == [
        (mode, threshold) for mode in ("diffusion", "linear_spec") for threshold in (0.2, 0.9)
    ]
    assert all(row["tokens_per_forward"] > 0 for row in thresholds)
    assert "Time to a completion" in markdown(report)


def test_variants_of_a_round_take_the_same_prompt(
    subjects: list[Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    complete = Engine.complete

    def spy(self: Engine, request: Any, **named: Any) -> Any:
        asked.append(request.prompt)
        return complete(self, request, **named)

    monkeypatch.setattr(Engine, "complete", spy)
    holes = [HOLE, CodeHole("b", "x = 1\ny =", "\n"), CodeHole("c", "for i in", ":\n")]
    made, tallies = completion_lines(subjects, [], Asked(holes, ["ar"], [2], ["cold"]))
    measure([variant for _, variant in made], Schedule(num_rounds=2))
    # Round after round, on both paths; the first round is in no tally.
    assert asked == [hole.prefix for hole in holes for _ in subjects]
    assert [len(tally.answers) for tally in tallies.values()] == [2, 2]


def test_cancel_ends_after_the_forward_in_work(qwen: Path) -> None:
    report = run_bench(plan("cancel", "--rounds", "3", model=qwen))
    rows = report["cases"]["cancel"]
    assert [row["phase"] for row in rows] == ["prefill", "decode"]
    for row in rows:
        assert row["num_cancelled"] + row["num_over_before"] == 3
        assert row["max_forwards"] <= 1
    assert "ceilings" not in report


def test_a_flag_set_at_once_lets_no_forward_end_but_the_first(subjects: list[Subject]) -> None:
    engine = subjects[0].engine
    assert engine is not None
    long = CodeHole("a", "x = 1\n" * 300, "\n")
    found = cancelled(engine, long, "prefill", 0.0)
    assert found.ms is not None
    assert found.finished <= 1
    engine.prefix_cache.check_integrity()


def test_a_run_that_ends_before_its_flag_is_not_counted(subjects: list[Subject]) -> None:
    engine = subjects[0].engine
    assert engine is not None
    assert cancelled(engine, HOLE, "prefill", 600.0).ms is None


def test_memory_tells_every_stage_of_a_process_of_its_own(qwen: Path) -> None:
    report = run_bench(plan("memory", "--paths", "fp32", model=qwen))
    rows = report["cases"]["memory"]
    stages = [row["stage"] for row in rows]
    assert stages[:3] == ["Python", "torch imported", "model loaded"]
    assert len(stages) == 5
    assert rows[0]["rss_mb"] < rows[1]["rss_mb"] <= rows[2]["rss_mb"]
    assert rows[3]["kv_mb"] > 0
    if sys.platform == "linux":
        assert all(0 < row["anonymous_mb"] <= row["rss_mb"] for row in rows)
    assert "RSS MiB" in markdown(report)


def test_memory_of_a_model_that_does_not_load_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="path auto failed"):
        memory_case.memory_rows(["auto"], EngineConfig(model=str(tmp_path), offline=True))


def test_random_weights_have_the_shape_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SHAPES, "default", Shape(QWEN_CONFIG, 4, drafts_everywhere=True))
    options = ("--shape", "default", "--no-transformers", "--blocks", "8", "--cached", "16")
    report = run_bench(plan("all", *options, "--lengths", "20"))
    assert set(report["cases"]) == {"forward", "cycles", "prefill"}
    (subject,) = report["subjects"]
    assert subject["random_weights"]
    assert "random weights" in markdown(report)
    draft = by_name(report["cases"]["forward"])["fp32: draft block 8 rows 1 cached 16"]
    verify = by_name(report["cases"]["forward"])["fp32: verify block 8 rows 1 cached 16"]
    # One token less than the block, and yet more bytes: those of the adapter.
    assert draft["num_bytes"] > verify["num_bytes"]


def test_random_weights_are_finite_and_not_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SHAPES, "default", Shape(QWEN_CONFIG, 4, drafts_everywhere=True))
    common = EngineConfig(device="cpu", num_threads=1)
    (subject,) = load_subjects(parse_paths("fp32"), common, "default")
    ids = torch.tensor([[1, 2, subject.decoder.config.mask_token_id]])
    hidden = subject.decoder.forward(
        ids, subject.decoder.new_cache(), visible=None, draft_adapter=True
    )
    logits = subject.decoder.logits(hidden)
    assert bool(torch.isfinite(logits).all())
    assert float(logits.std()) > 0
    # 7 layers' worth of pairs of rank 4 over 3 layers: qkv has three parts, gate and up two.
    pairs = 3 * (12 * (64 + 128) + 4 * (64 + 64) + 8 * (64 + 320) + 4 * (160 + 64))
    assert subject.storage == Storage(4.0, 4.0, "float32", pairs)


def test_what_does_not_fit_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("M", (), {"available": 2e9})())
    common = EngineConfig(device="cpu", num_threads=1)
    with pytest.raises(EngineError, match=r"Shape 14b on path bf16 would take 2\d\.\d GB"):
        load_subjects(parse_paths("bf16"), common, "14b")


def test_paths_are_engine_options() -> None:
    assert parse_paths("auto") == [EnginePath("auto", {})]
    (path,) = parse_paths("dtype=float32+num_threads=2")
    config = path.config(EngineConfig(model="m"))
    assert (config.model, config.dtype, config.num_threads) == ("m", "float32", 2)
    for wrong in ("fp8", "model=x", "num_threads=0", "auto,auto", ""):
        with pytest.raises(EngineError) as told:
            parse_paths(wrong)
        assert str(told.value).count(".") <= 2


def test_holes_are_real_code_of_the_size_asked_for() -> None:
    holes = code_holes(5, prefix_chars=300, seed=1)
    assert holes == code_holes(5, prefix_chars=300, seed=1)
    assert holes != code_holes(5, prefix_chars=300, seed=2)
    for hole in holes:
        assert 0 < len(hole.prefix) <= 300
        assert len(hole.suffix) <= 150
        assert not hole.prefix[-1].isspace()
        assert hole.suffix.startswith("\n")


def test_every_path_is_timed_with_its_own_threads(qwen: Path) -> None:
    common = EngineConfig(model=str(qwen), device="cpu")
    before = torch.get_num_threads()
    paths = parse_paths("dtype=float32+weights=full+num_threads=1,num_threads=3+weights=full")
    loaded = load_subjects(paths, common, None, [16])
    seen: list[int] = []
    try:
        for subject in (*loaded, *reversed(loaded)):
            subject.timed(lambda: seen.append(torch.get_num_threads()))
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 3, 3, 1]
