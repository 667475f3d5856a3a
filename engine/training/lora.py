"""LowRankSet: the trainable low-rank pairs of an adapter, and their way to and from PEFT files."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from engine.models.config import ModelConfig
from engine.weights.adapters import LoraAdapter
from engine.weights.checkpoint import expected_shapes

ALL_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class LowRankSet:
    """fp32 leaves: per module A (rank, in) and B (out, rank), and a mask embedding (hidden,).

    LoRA (arXiv 2106.09685): A starts random, B at zero, so training starts at the base model.
    `mask_embedding` is None for a causal adapter, which never sees a mask.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        rank: int,
        alpha: float,
        targets: tuple[str, ...] = ALL_TARGETS,
        mask_embedding: torch.Tensor | None = None,
        device: torch.device,
        seed: int,
    ) -> None:
        self.rank, self.scale = rank, alpha / rank
        generator = torch.Generator().manual_seed(seed)
        self.pairs: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        for name, shape in expected_shapes(config).items():
            module, _, kind = name.rpartition(".")
            if kind != "weight" or module.rpartition(".")[2] not in targets:
                continue
            out_size, in_size = shape
            bound = 1.0 / math.sqrt(in_size)
            down = torch.empty(rank, in_size).uniform_(-bound, bound, generator=generator)
            up = torch.zeros(out_size, rank)
            self.pairs[module] = (_leaf(down, device), _leaf(up, device))
        self.mask_embedding = (
            None if mask_embedding is None else _leaf(mask_embedding.float(), device)
        )

    def parameters(self) -> Iterator[tuple[str, torch.Tensor]]:
        for module, (down, up) in self.pairs.items():
            yield f"{module}.A", down
            yield f"{module}.B", up
        if self.mask_embedding is not None:
            yield "mask_embedding", self.mask_embedding

    @property
    def num_parameters(self) -> int:
        return sum(tensor.numel() for _, tensor in self.parameters())

    def export(self, dtype: torch.dtype) -> LoraAdapter:
        """A detached copy that `engine.weights.adapters.write_adapter` takes."""
        mask = self.mask_embedding
        return LoraAdapter(
            self.rank,
            self.scale,
            {
                module: (down.detach().to("cpu", dtype), up.detach().to("cpu", dtype))
                for module, (down, up) in self.pairs.items()
            },
            None if mask is None else mask.detach().to("cpu", dtype),
        )

    @torch.no_grad()
    def load(self, adapter: LoraAdapter) -> None:
        """Start from a trained adapter of the same rank and modules."""
        if adapter.rank != self.rank or adapter.pairs.keys() != self.pairs.keys():
            raise ValueError("the adapter has another rank or other modules")
        for module, (down, up) in self.pairs.items():
            down.copy_(adapter.pairs[module][0])
            # The scale of the file may differ from ours; what counts is the product.
            up.copy_(adapter.pairs[module][1].float() * (adapter.scale / self.scale))
        if self.mask_embedding is not None and adapter.mask_embedding is not None:
            self.mask_embedding.copy_(adapter.mask_embedding)


def _leaf(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    return tensor.to(device).requires_grad_()
