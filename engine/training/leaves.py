"""Leaves: all weights of a network as trainable fp32 tensors, and their way to a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from engine.training.network import Network
from engine.weights.checkpoint import HEAD


class Leaves:
    """All weights of a network as fp32 leaves, put in the place of its own, and their names.

    The network computes in its own dtype all the same. A tied head stays tied; the mask's
    embedding is a leaf of its own.
    """

    def __init__(self, network: Network) -> None:
        self._config = network.config
        self._is_tied = network.head is network.embedding
        self._named: dict[str, torch.Tensor] = {}
        network.embedding = self._leaf("embed_tokens", network.embedding)
        network.head = network.embedding if self._is_tied else self._leaf("head", network.head)
        network.norm = self._leaf("norm", network.norm)
        network.mask_embedding = self._leaf("mask_embedding", network.mask_embedding)
        for number, layer in enumerate(network.layers):
            at = f"layers.{number}"
            layer.input_norm = self._leaf(f"{at}.input_norm", layer.input_norm)
            layer.qkv = self._leaf(f"{at}.qkv", layer.qkv)
            if layer.qkv_bias is not None:
                layer.qkv_bias = self._leaf(f"{at}.qkv_bias", layer.qkv_bias)
            layer.out = self._leaf(f"{at}.out", layer.out)
            layer.post_norm = self._leaf(f"{at}.post_norm", layer.post_norm)
            layer.gate_up = self._leaf(f"{at}.gate_up", layer.gate_up)
            layer.down = self._leaf(f"{at}.down", layer.down)

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        yield from self._named.items()

    @property
    def mask_embedding(self) -> torch.Tensor:
        return self._named["mask_embedding"]

    def canonical(self) -> dict[str, torch.Tensor]:
        """The tensors of `expected_shapes`, fused weights taken apart; the mask's row is old."""
        c, named = self._config, self._named
        heads = [c.num_heads * c.head_dim, *([c.num_kv_heads * c.head_dim] * 2)]
        tensors = {"embed_tokens.weight": named["embed_tokens"], "norm.weight": named["norm"]}
        if not self._is_tied:
            tensors[HEAD] = named["head"]
        for number in range(c.num_layers):
            at = f"layers.{number}"
            tensors[f"{at}.input_layernorm.weight"] = named[f"{at}.input_norm"]
            tensors[f"{at}.post_attention_layernorm.weight"] = named[f"{at}.post_norm"]
            tensors[f"{at}.self_attn.o_proj.weight"] = named[f"{at}.out"]
            tensors[f"{at}.mlp.down_proj.weight"] = named[f"{at}.down"]
            for fused, kind in (("qkv", "weight"), ("qkv_bias", "bias")):
                if f"{at}.{fused}" in named:
                    parts = torch.split(named[f"{at}.{fused}"], heads)
                    for name, part in zip("qkv", parts, strict=True):
                        tensors[f"{at}.self_attn.{name}_proj.{kind}"] = part
            halves = named[f"{at}.gate_up"].chunk(2)
            for name, half in zip(("gate", "up"), halves, strict=True):
                tensors[f"{at}.mlp.{name}_proj.weight"] = half
        return tensors

    def _leaf(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        leaf = tensor.detach().to(torch.float32, copy=True).requires_grad_()
        self._named[name] = leaf
        return leaf
