"""Static passes beside plain ones in `nemodiff bench forward`, and its profile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from engine.bench.__main__ import main
from engine.bench.forward_case import Grid, pass_of
from engine.bench.paths import parse_paths
from engine.bench.profiling import profile_rows
from engine.bench.shapes import SHAPES, Shape
from engine.bench.subject import Subject, load_subjects
from engine.config import EngineConfig
from engine.errors import EngineError
from tests.models.checkpoints import QWEN_CONFIG

PATHS = "graphs=on+dtype=float32,dtype=float32"


@pytest.fixture(scope="module")
def subjects(qwen_folder: Path) -> list[Subject]:
    common = EngineConfig(model=str(qwen_folder), device="cpu", num_threads=1)
    return load_subjects(parse_paths(PATHS), common, None, [32])


def test_a_path_names_its_kernels() -> None:
    (path,) = parse_paths("graphs=off+kernels=norm/attention")
    assert path.options == {"graphs": "off", "kernels": "norm,attention"}
    config = path.config(EngineConfig())
    assert (config.graphs, config.kernels) == ("off", "norm,attention")


def test_both_paths_find_the_same_tokens(subjects: list[Subject]) -> None:
    static, plain = subjects
    assert static.runner is not None and plain.runner is None
    grid = Grid(["verify", "draft", "shared"], [8, 1, 32], [1, 3], [32])
    points = grid.points(plain.decoder.config)
    for point in points:
        before = static.runner.num_replayed
        found, best = pass_of(static, point)(), pass_of(plain, point)()
        # The plain path does not look at which ids may be chosen.
        allowed = static.runner.choosable.penalty[best] == 0
        assert allowed.any() and torch.equal(found[allowed], best[allowed])
        # 3 rows of 32 do not fit.
        fits = point.rows * point.block <= 64
        assert static.runner.num_replayed - before == fits
    assert any("Static passes" in fact for fact in static.facts)


def test_a_profile_counts_what_a_pass_launches(subjects: list[Subject]) -> None:
    rows = profile_rows(subjects, Grid(["verify"], [8, 1], [1, 3], [32]))
    paths = [row["path"] for row in rows if row["kernel"] == "all"]
    assert paths == ["graphs=on+dtype=float32", "dtype=float32"]
    for row in rows:
        assert row["device"] == "cpu"
        assert row["pass"] == "verify block 8 rows 1 cached 32"
        assert row["us"] > 0
    by_name = {(row["path"], row["kernel"]): row for row in rows}
    num_norms = 2 * subjects[0].decoder.config.num_layers + 1
    for path in paths:
        found = [row for (of, name), row in by_name.items() if of == path and "rms_norm" in name]
        assert any(row["count"] == num_norms for row in found)
        parts = [row for (of, name), row in by_name.items() if of == path and name != "all"]
        assert sum(row["us"] for row in parts) <= by_name[path, "all"]["us"] + 1


def test_a_profile_is_written_as_json(
    qwen_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "profile.json"
    sizes = ["--blocks", "4", "--rows", "1", "--cached", "16", "--modes", "verify", "--rounds", "1"]
    asked = ["--model", str(qwen_folder), "--device", "cpu", "--paths", PATHS, "--no-transformers"]
    assert main(["forward", *asked, *sizes, "--quick", "--profile", str(target)]) == 0
    rows = json.loads(target.read_text(encoding="utf-8"))
    assert {row["path"] for row in rows} == set(PATHS.split(","))
    assert "What a pass launches" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["kernels", "--profile", str(target)])
    assert main(["cancel", *asked[:2], "--profile", str(target)]) == 1
    assert "--profile is for the case forward" in capsys.readouterr().err


def test_random_weights_have_static_passes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SHAPES, "default", Shape(QWEN_CONFIG, 4, drafts_everywhere=True))
    common = EngineConfig(device="cpu", num_threads=1)
    static, plain = load_subjects(parse_paths(PATHS), common, "default", [32])
    assert static.runner is not None and plain.runner is None
    (point,) = Grid(["draft"], [8], [1], [32]).points(static.decoder.config)
    assert torch.equal(pass_of(static, point)(), pass_of(plain, point)())
    assert static.runner.num_replayed == 1
    with pytest.raises(EngineError, match="use auto, on or off"):
        load_subjects(parse_paths("graphs=maybe"), common, "default", [32])
