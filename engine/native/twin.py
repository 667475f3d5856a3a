"""The int8 product in plain torch: what the kernels are checked against.

Weights and activations are symmetric int8 with one fp32 scale per row and 64 inputs; products of a
group are exact, and groups are summed up in fp32 in their order.
"""

from __future__ import annotations

import torch

from engine.native.library import COLUMNS, GROUP


def quantise(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, K) -> whole numbers -127..127 as fp32 (N, K / 64, 64), scales fp32 (N, K / 64)."""
    groups = x.float().view(x.shape[0], -1, GROUP)
    largest = groups.abs().amax(dim=-1).clamp_min(1e-30)
    # A true division: torch turns that of a Python number into a product with the reciprocal.
    inverse = torch.tensor(127.0) / largest
    return (groups * inverse.unsqueeze(-1)).round(), largest / torch.tensor(127.0)


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """fp32 (N, M) for x (N, K) and a weight (M, K) that is not packed."""
    (values, scales), (weights, weight_scales) = quantise(x), quantise(weight)
    total = torch.zeros(x.shape[0], weight.shape[0])
    for group in range(values.shape[1]):
        products = values[:, group] @ weights[:, group].T
        total += products * torch.outer(scales[:, group], weight_scales[:, group])
    return total if bias is None else total + bias.float()


def unpack(packed: torch.Tensor, M: int, K: int) -> torch.Tensor:
    """What a packed weight stands for: fp32 (M, K)."""
    blocks = packed[: M * K].view(M // COLUMNS, K // 4, COLUMNS, 4).float() - 128.0
    values = blocks.permute(0, 2, 1, 3).reshape(M, K // GROUP, GROUP)
    scales = packed[M * K :].view(torch.float32).view(M // COLUMNS, K // GROUP, COLUMNS)
    return (values * scales.transpose(1, 2).reshape(M, -1, 1)).reshape(M, K)
