"""Device, dtype and threads: every choice has its reason, and no wish is silently ignored."""

from __future__ import annotations

import os

import pytest
import torch

from engine import device
from engine.device import choose_device
from engine.errors import EngineError


@pytest.fixture(autouse=True)
def _no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_auto_says_why_for_each_choice() -> None:
    choice = choose_device("auto", "auto", None)
    assert choice.device.type == "cpu"
    assert len(choice.reasons) == 3
    assert "no CUDA device" in choice.reasons[0] or "CPU build" in choice.reasons[0]
    assert choice.reason == " ".join(choice.reasons)


@pytest.mark.parametrize(
    ("wishes", "named"),
    [
        (("cuda", "auto", None), "cuda"),
        (("cuda:1", "auto", None), "cuda:1"),
        (("tpu", "auto", None), "tpu"),
        (("cpu", "float8", None), "float8"),
        (("cpu", "auto", 0), "0"),
        (("cpu", "auto", 1000), "1000"),
    ],
)
def test_a_wish_that_cannot_be_met_is_an_error(
    wishes: tuple[str, str, int | None], named: str
) -> None:
    with pytest.raises(EngineError, match=named):
        choose_device(*wishes)


def test_a_gpu_beside_a_cpu_build_of_torch_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.Path, "exists", lambda self: True)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "CPU build" in choose_device("auto", "auto", None).reasons[0]


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (4, 1), (8, 2), (16, 4), (64, 4)])
def test_threads_leave_the_editor_its_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int, threads: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
    assert choose_device("cpu", "auto", None).num_threads == threads


def test_a_cpu_without_bf16_kernels_gets_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_cpu_has_bf16", lambda: False)
    choice = choose_device("cpu", "auto", None)
    assert choice.dtype == torch.float32
    assert "float32" in choice.reasons[1]
