"""The table and the picture of a run."""

from __future__ import annotations

import csv
import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.training import curves
from engine.training.curves import write_curves

_PNG = b"\x89PNG\r\n\x1a\n"


def write_curve(folder: Path, lines: list[dict[str, Any]]) -> None:
    (folder / "curve.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def some_lines(num: int) -> list[dict[str, Any]]:
    """Loss at each step, figures of an evaluation at the last."""
    lines = [{"step": at, "num_tokens": 10 * at, "loss": 1 / at} for at in range(1, num + 1)]
    lines[-1] |= {"held_out_loss": 0.25, "token_accuracy": 0.5, "tokens_per_cycle": 2.5}
    return lines


def test_table_has_every_column_and_gaps(tmp_path: Path) -> None:
    write_curve(tmp_path, some_lines(3))
    assert write_curves(tmp_path) == [tmp_path / "curve.csv", tmp_path / "curve.png"]
    rows = list(csv.reader((tmp_path / "curve.csv").read_text().splitlines()))
    assert rows[0] == [
        *("step", "num_tokens", "loss"),
        *("held_out_loss", "token_accuracy", "tokens_per_cycle"),
    ]
    assert rows[1] == ["1", "10", "1.0", "", "", ""]
    assert [float(field) for field in rows[3]] == pytest.approx([3, 30, 1 / 3, 0.25, 0.5, 2.5])
    assert (tmp_path / "curve.png").read_bytes().startswith(_PNG)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("curve.csv", "curve.jsonl", "curve.png")
    ]


def test_panels_are_those_that_have_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Points for evaluations, lines for steps, tokens across."""
    from matplotlib.figure import Figure

    drawn: list[Figure] = []
    monkeypatch.setattr(
        Figure, "savefig", lambda self, path, **_: drawn.append(self) or path.touch()
    )
    write_curve(tmp_path, some_lines(40))
    write_curves(tmp_path)
    axes = drawn[0].axes
    assert [each.get_title() for each in axes] == ["loss", "accuracy", "acceptance, tokens"]
    loss, held_out = axes[0].lines
    assert list(loss.get_xdata()) == [10 * at for at in range(1, 41)]
    # A running mean over a twentieth of the steps: two of them.
    assert loss.get_ydata()[3] == pytest.approx((1 / 3 + 1 / 4) / 2)
    assert (list(held_out.get_xdata()), list(held_out.get_ydata())) == ([400], [0.25])
    write_curve(tmp_path, [{"step": 1, "num_tokens": 5, "loss": 1.0}])
    write_curves(tmp_path)
    assert [each.get_title() for each in drawn[1].axes] == ["loss"]


def test_without_matplotlib_the_table_alone_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_curve(tmp_path, some_lines(3))
    curves._has_matplotlib.cache_clear()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with caplog.at_level(logging.WARNING):
        assert write_curves(tmp_path) == [tmp_path / "curve.csv"]
        assert write_curves(tmp_path) == [tmp_path / "curve.csv"]
    curves._has_matplotlib.cache_clear()
    (record,) = caplog.records
    assert "matplotlib is missing; install nemodiff[eval]" in record.message


def test_nothing_to_draw_yet(tmp_path: Path) -> None:
    write_curve(tmp_path, [])
    assert write_curves(tmp_path) == []
    write_curve(tmp_path, [{"step": 1, "num_tokens": 5}])
    assert write_curves(tmp_path) == [tmp_path / "curve.csv"]


def test_a_damaged_curve_is_a_value_error(tmp_path: Path) -> None:
    (tmp_path / "curve.jsonl").write_text('{"step": 1,')
    with pytest.raises(ValueError):
        write_curves(tmp_path)
