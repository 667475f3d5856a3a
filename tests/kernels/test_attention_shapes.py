"""Split-KV attention at the head shapes of the models that are served, in every kind of pass."""

from __future__ import annotations

import pytest
import torch

from engine.decoding.shared_pass import shared_view

pytest.importorskip("triton", reason="triton is not installed")

from engine.kernels.attention import num_row_tiles, num_splits_for
from tests.kernels.attention_case import Case, make_case

# num_heads, num_kv_heads, head_dim
FAMILIES = {
    "Nemotron 3B, 8B and 14B": (32, 8, 128),
    "Qwen2.5 0.5B": (14, 2, 64),
    "Qwen2.5 1.5B": (12, 2, 128),
}


def causal(tokens: int) -> torch.Tensor:
    return torch.ones(tokens, tokens, dtype=torch.bool).tril_()


# Sequences, and the mask of each.
PASSES = {
    "one token": (1, causal(1)),
    "a block drafted": (1, torch.ones(32, 32, dtype=torch.bool)),
    "a block verified": (1, causal(32)),
    "verified and drafted at once": (1, shared_view([2, 2, 3, 0, 0, 7], torch.device("cpu"))),
    "alternatives": (4, causal(8)),
    "the largest": (1, causal(64)),
}


def case_of(
    device: torch.device, dtype: torch.dtype, family: str, name: str, length: int
) -> tuple[Case, int]:
    """The inputs, and the number of row tiles."""
    rows, visible = PASSES[name]
    num_heads, num_kv_heads, _ = heads = FAMILIES[family]
    tokens = visible.shape[0]
    case = make_case(
        device, dtype, rows=rows, tokens=tokens, heads=heads, length=length, visible=visible
    )
    return case, num_row_tiles(rows * tokens, num_heads, num_kv_heads)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["one token", "verified and drafted at once", "alternatives"])
def test_small_prefixes(device: torch.device, dtype: torch.dtype, family: str, name: str) -> None:
    case, _ = case_of(device, dtype, family, name, length=70)
    case.check(case.attend(2))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["a block drafted", "a block verified"])
def test_blocks_of_32(device: torch.device, family: str, name: str) -> None:
    """More than one row tile: those of a tile stand in several tokens and heads."""
    case, num_tiles = case_of(device, torch.bfloat16, family, name, length=65)
    assert num_tiles >= 2
    case.check(case.attend(1))


@pytest.mark.gpu
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("length", [0, 511, 2048, 8191, 32768])
def test_real_prefixes(family: str, name: str, length: int) -> None:
    device = torch.device("cuda")
    num_kv_heads = FAMILIES[family][1]
    num_sms = torch.cuda.get_device_properties(device).multi_processor_count
    case, num_tiles = case_of(device, torch.bfloat16, family, name, length)
    # As one captured graph would do, whose splits are those of the longest prefix.
    for max_length in (length, 65536):
        case.check(case.attend(num_splits_for(max_length, num_kv_heads, num_tiles, num_sms)))
