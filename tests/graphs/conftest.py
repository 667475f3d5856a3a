"""Decoders of both families, with plain weights, and the ways in which their passes are done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from engine import kernels
from engine.graphs.backends import CudaGraphs, EagerBackend
from engine.graphs.ops import KERNELS, Ops, make_ops
from engine.kernels.interpreter import mend_interpreter
from engine.models.decoder import Decoder
from tests.graphs.harness import Way, plain_decoder
from tests.models import checkpoints


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    """As the engine thread does it."""
    with torch.inference_mode():
        yield


@pytest.fixture(scope="session")
def qwen_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Next-position logits; its adapter acts on masks only, and there is a mask embedding."""
    folder = checkpoints.write_qwen(tmp_path_factory.mktemp("graphs") / "qwen")
    checkpoints.write_diffusion_adapter(folder / "diffusion_adapter")
    return folder


@pytest.fixture(scope="session", params=["qwen", "nemotron"])
def folder(request: pytest.FixtureRequest, qwen_folder: Path) -> Path:
    """nemotron: same-position logits, an adapter over whole blocks, YaRN and a query scale."""
    return qwen_folder if request.param == "qwen" else checkpoints.TINY


@pytest.fixture
def decoder(folder: Path) -> Decoder:
    return plain_decoder(folder, torch.device("cpu"), "float32")


def way(name: str) -> Way:
    """twins: plain torch; interpreter: every kernel, interpreted; cuda: as a CUDA graph."""
    device = torch.device("cuda" if name == "cuda" else "cpu")
    if name == "twins":
        return Way(device, Ops(), EagerBackend(device))
    reason = kernels.problem(device)
    if reason is not None:
        pytest.skip(reason)
    ops = make_ops(frozenset(KERNELS))
    if name == "cuda":
        return Way(device, ops, CudaGraphs(device))
    mend_interpreter()
    return Way(device, ops, EagerBackend(device))
