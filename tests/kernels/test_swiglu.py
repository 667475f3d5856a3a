"""The gated activation against torch's."""

from __future__ import annotations

import pytest
import torch

from tests.kernels.closeness import assert_close

pytest.importorskip("triton", reason="triton is not installed")

from engine.kernels.swiglu import swiglu
from engine.kernels.twins import swiglu_twin


@pytest.mark.parametrize(("N", "width"), [(1, 1), (3, 1023), (17, 1025), (64, 64), (2, 4864)])
def test_the_gate_comes_first(device: torch.device, dtype: torch.dtype, N: int, width: int) -> None:
    generator = torch.Generator().manual_seed(N)
    gate_up = (torch.randn(N, 2 * width, generator=generator) * 3).to(device, dtype)
    assert_close(swiglu(gate_up), swiglu_twin(gate_up))


def test_far_gates_neither_overflow_nor_vanish(device: torch.device, dtype: torch.dtype) -> None:
    gate_up = torch.tensor([[-1e4, -90.0, 0.0, 90.0, 1e4, 2.0, 2.0, 2.0, 2.0, 2.0]])
    gate_up = gate_up.to(device, dtype)
    out = torch.empty(1, 5, device=device, dtype=dtype)
    found = swiglu(gate_up, out=out)
    assert found is out
    assert_close(found, swiglu_twin(gate_up))
    assert found.tolist()[0][2:4] == [0.0, 180.0]


def test_what_does_not_fit_is_named(device: torch.device) -> None:
    with pytest.raises(ValueError, match="even width"):
        swiglu(torch.zeros(2, 7, device=device))
    with pytest.raises(ValueError, match="contiguous"):
        swiglu(torch.zeros(8, 2, device=device).t())
