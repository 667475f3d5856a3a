"""Inputs of block attention, with everything that must not be read full of NaN."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from engine.kernels.attention import attend_split, attend_split_twin

LAYER, NUM_LAYERS = 1, 3


@dataclass(frozen=True)
class Case:
    """One call's tensors; keys and values (num_kv_heads, capacity, head_dim) of layer LAYER."""

    q: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor
    new_keys: torch.Tensor
    new_values: torch.Tensor
    visible: torch.Tensor
    num_cached: int
    pointers: torch.Tensor
    length: torch.Tensor
    head_stride: torch.Tensor
    poison: torch.Tensor

    def attend(self, num_splits: int, out: torch.Tensor | None = None) -> torch.Tensor:
        return attend_split(
            self.q,
            self.pointers,
            LAYER,
            self.length,
            self.head_stride,
            self.new_keys,
            self.new_values,
            self.visible,
            num_splits,
            out=out,
        )

    def expected(self, values_of: str = "as they are") -> torch.Tensor:
        """The twin in float32; with "magnitudes" the values of keys without their signs."""
        end = self.num_cached
        values, new_values = self.values[:, :end].float(), self.new_values.float()
        if values_of == "magnitudes":
            values, new_values = values.abs(), new_values.abs()
        keys, new_keys = self.keys[:, :end].float(), self.new_keys.float()
        return attend_split_twin(self.q.float(), keys, values, new_keys, new_values, self.visible)

    def check(self, found: torch.Tensor) -> None:
        """Assert that `found` is the twin's answer, up to rounding.

        In bfloat16 two things are rounded, each by at most 2^-8 of its size: the softmax weights
        and the result. Each moves the result by at most 2^-8 of the weighted magnitudes.
        """
        unit = 2.0**-8 if self.q.dtype == torch.bfloat16 else 0.0
        share = 2 * unit + unit**2
        limit = share * self.expected("magnitudes") + 1e-5
        error = (found.float() - self.expected()).abs()
        assert (error <= limit).all(), f"{(error - limit).max().item()} beyond the limit"


def make_case(
    device: torch.device,
    dtype: torch.dtype,
    *,
    rows: int,
    tokens: int,
    heads: tuple[int, int, int],
    length: int,
    visible: torch.Tensor | None = None,
    seed: int = 0,
) -> Case:
    """Random inputs; heads: (num_heads, num_kv_heads, head_dim); visible: causal if not given."""
    num_heads, num_kv_heads, head_dim = heads
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int, scale: float = 1.0) -> torch.Tensor:
        return (torch.randn(*shape, generator=generator) * scale).to(device, dtype)

    # Behind the length and in the other layers nothing is fit to be read.
    keys = torch.full((num_kv_heads, length + 21, head_dim), torch.nan, device=device, dtype=dtype)
    values, poison = keys.clone(), keys.clone()
    keys[:, :length] = draw(num_kv_heads, length, head_dim)
    values[:, :length] = draw(num_kv_heads, length, head_dim)
    visible = torch.ones(tokens, tokens).tril_().bool() if visible is None else visible
    addresses = [[poison.data_ptr()] * 2 for _ in range(NUM_LAYERS)]
    addresses[LAYER] = [keys.data_ptr(), values.data_ptr()]
    return Case(
        # Large queries: a softmax with peaks, to which a single missing key matters.
        q=draw(rows, tokens, num_heads, head_dim, scale=3.0),
        keys=keys,
        values=values,
        new_keys=draw(rows, tokens, num_kv_heads, head_dim),
        new_values=draw(rows, tokens, num_kv_heads, head_dim),
        visible=visible.to(device).expand(rows, tokens, tokens).contiguous(),
        num_cached=length,
        pointers=torch.tensor(addresses, device=device),
        length=torch.tensor([length], device=device),
        head_stride=torch.tensor([keys.stride(0)], device=device),
        poison=poison,
    )
