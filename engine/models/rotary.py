"""Rotary positions: plain, and with YaRN scaling; tables of cos and sin that grow on demand.

Half-rotation layout. YaRN after arXiv 2309.00071 with per-checkpoint factors; the Llama-4 query
scale is the only term that depends on the absolute position.
"""

from __future__ import annotations

import math

import torch

from engine.models.config import ModelConfig, YarnScaling


def inverse_frequencies(config: ModelConfig) -> tuple[torch.Tensor, float]:
    """(head_dim / 2,) fp32 inverse frequencies and the factor on cos and sin."""
    dim, theta = config.head_dim, config.rope_theta
    plain = 1.0 / theta ** (torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    if config.yarn is None:
        return plain.float(), 1.0
    yarn = config.yarn
    # Dimensions that turn often within the original context keep their frequency, those that turn
    # less than once are interpolated by the factor, with a linear ramp between the two.
    low = math.floor(_turning_dim(yarn.beta_fast, dim, theta, yarn.original_max_positions))
    high = math.ceil(_turning_dim(yarn.beta_slow, dim, theta, yarn.original_max_positions))
    low, high = max(low, 0), min(high, dim - 1)
    ramp = (torch.arange(dim // 2, dtype=torch.float64) - low) / max(high - low, 0.001)
    keep = 1.0 - ramp.clamp(0.0, 1.0)
    scaled = plain / yarn.factor * (1.0 - keep) + plain * keep
    return scaled.float(), _attention_factor(yarn)


def _turning_dim(num_turns: float, dim: int, theta: float, max_positions: int) -> float:
    """The dimension whose angle makes `num_turns` turns within `max_positions`."""
    return dim * math.log(max_positions / (num_turns * 2 * math.pi)) / (2 * math.log(theta))


def _attention_factor(yarn: YarnScaling) -> float:
    def mscale(weight: float) -> float:
        return 1.0 if yarn.factor <= 1.0 else 0.1 * weight * math.log(yarn.factor) + 1.0

    return mscale(yarn.mscale) / mscale(yarn.mscale_all_dim)


class RotaryTable:
    """cos and sin (num_positions, head_dim) in the activation dtype, and the query scale."""

    def __init__(self, config: ModelConfig, device: torch.device, dtype: torch.dtype) -> None:
        self._device, self._dtype = device, dtype
        self._inverse, self._factor = inverse_frequencies(config)
        self._beta = config.query_scale_beta
        self._original = config.yarn.original_max_positions if config.yarn else 1
        self._cos = self._sin = torch.empty(0, config.head_dim)

    @property
    def num_positions(self) -> int:
        """Positions that the tables have; they move whenever it grows."""
        return self._cos.shape[0]

    def reserve(self, num_positions: int) -> None:
        if num_positions <= self._cos.shape[0]:
            return
        size = -(-num_positions // 1024) * 1024
        angles = torch.outer(torch.arange(size, dtype=torch.float32), self._inverse)
        angles = torch.cat((angles, angles), dim=-1)
        self._cos = (angles.cos() * self._factor).to(self._device, self._dtype)
        self._sin = (angles.sin() * self._factor).to(self._device, self._dtype)

    def lookup(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """cos, sin (N, 1, head_dim) for int64 positions (N,)."""
        return self._cos[positions].unsqueeze(1), self._sin[positions].unsqueeze(1)

    def query_scale(self, positions: torch.Tensor) -> torch.Tensor | None:
        """(N, 1, 1) factor on q after the rotation, or None where it is 1 everywhere."""
        if not self._beta or int(positions.max()) < self._original:
            return None
        scale = self.scale_of(positions)
        return None if scale is None else scale.view(-1, 1, 1)

    def scale_of(self, positions: torch.Tensor) -> torch.Tensor | None:
        """(N,) factor on q, also where it is 1 everywhere; None for models that have none."""
        if not self._beta:
            return None
        blocks = torch.div(positions, self._original, rounding_mode="floor").float()
        return (1.0 + self._beta * torch.log1p(blocks)).to(self._dtype)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate (N, num_heads, head_dim) by the angles of its positions."""
    half = x.shape[-1] // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    return x * cos + turned * sin
