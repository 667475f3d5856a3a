"""Why the kernels cannot be used, in one sentence; the engine is loaded without them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

import engine.kernels as kernels

PRINTED = "import torch, engine.kernels\nprint(engine.kernels.problem(torch.device('{device}')))"
NO_TRITON = "import sys\nsys.modules['triton'] = None\n"


def told(code: str, interpret: str | None = None) -> str:
    """What `code` prints, in a process of its own."""
    env = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    if interpret is not None:
        env["TRITON_INTERPRET"] = interpret
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """As if there were one, with compiled kernels that agree with their twins."""
    monkeypatch.setattr(kernels, "_interpreter", lambda: (False, False))
    monkeypatch.setattr(kernels, "_trial", lambda device: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
    kernels._gpu_problem.cache_clear()
    yield torch.device("cuda", 0)
    kernels._gpu_problem.cache_clear()


def test_without_triton_the_engine_is_there_and_says_so() -> None:
    code = f"{NO_TRITON}import engine.engine\n{PRINTED.format(device='cuda')}"
    assert told(code).startswith("Triton is not installed")


def test_a_cpu_needs_the_interpreter() -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    code = PRINTED.format(device="cpu") + "\nimport sys\nprint('triton' in sys.modules)"
    sentence, imported = told(code).splitlines()
    assert sentence.startswith("Triton kernels need a GPU; this is a CPU")
    assert imported == "False"
    assert told(PRINTED.format(device="cpu"), interpret="0") == sentence
    assert told(PRINTED.format(device="cpu"), interpret="1") == "None"


def test_the_interpreter_must_be_asked_for_in_time() -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    late = "import os, triton\nos.environ['TRITON_INTERPRET'] = '1'\n"
    assert "imported before TRITON_INTERPRET" in told(late + PRINTED.format(device="cpu"))


def test_an_interpreter_does_not_work_on_a_gpu() -> None:
    """Addresses of the device mean nothing to it."""
    pytest.importorskip("triton", reason="triton is not installed")
    assert "unset it" in told(PRINTED.format(device="cuda"), interpret="1")


def test_other_devices_are_named() -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    assert "not for meta" in told(PRINTED.format(device="meta"))


def test_a_gpu_that_will_do(a_gpu: torch.device) -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    assert kernels.problem(a_gpu) is None


def test_an_old_gpu_is_named(a_gpu: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (7, 5))
    assert "this one has 7.5" in str(kernels.problem(a_gpu))


def test_what_keeps_a_kernel_from_being_built_is_told_once(
    a_gpu: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triton finds out that there is no C compiler when the first kernel is launched."""
    pytest.importorskip("triton", reason="triton is not installed")
    tried = []

    def no_compiler(device: torch.device) -> str | None:
        tried.append(device)
        raise RuntimeError("Failed to find C compiler.\nPlease specify one.")

    monkeypatch.setattr(kernels, "_trial", no_compiler)
    for _ in range(2):
        sentence = kernels.problem(a_gpu)
        assert sentence == (
            "A Triton kernel could not be built or run here (Failed to find C compiler.)."
        )
    assert tried == [a_gpu]


def test_the_trial_tells_a_wrong_result(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.kernels import norm

    assert kernels._trial(device) is None
    monkeypatch.setattr(norm, "rms_norm", lambda x, *rest: (x, x))
    assert "wrong results" in str(kernels._trial(device))
