"""What a model pass cannot do without: bytes to move and operations to do. Plain arithmetic.

Every weight that the pass uses is read once, the cached keys and values once, the new ones are
written once; products count two operations per weight and token. Norms, activations and rotary
positions are left out of the operations: they are thousandths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engine.models.config import ModelConfig

View = Literal["causal", "full"]


@dataclass(frozen=True, slots=True)
class Storage:
    """bytes_per_weight: of the linear layers and their adapters, scales included. bytes_per_value:
    of activations, keys and values, embedding and norms. rate: which matrix rate applies."""

    bytes_per_weight: float
    bytes_per_value: float
    rate: str
    adapter_values: int = 0
    """Values of the draft adapter's matrices as they are stored, over all layers."""


@dataclass(frozen=True, slots=True)
class Pass:
    """rows sequences of `tokens` new tokens each over one shared prefix of `cached` tokens.

    head_rows: of all rows * tokens, those that the head is run on. adapter_rows: those that the
    draft adapter acts on. pairs: new keys that the new queries see, over all rows (None: causal).
    """

    tokens: int
    cached: int
    rows: int = 1
    head_rows: int = 0
    adapter_rows: int = 0
    pairs: int | None = None

    @property
    def num_tokens(self) -> int:
        return self.rows * self.tokens

    @property
    def num_pairs(self) -> int:
        """(query, key) pairs of attention, cached keys included."""
        causal = self.rows * self.tokens * (self.tokens + 1) // 2
        seen = causal if self.pairs is None else self.pairs
        return self.num_tokens * self.cached + seen


@dataclass(frozen=True, slots=True)
class Work:
    num_bytes: float
    flops: float

    def __add__(self, other: Work) -> Work:
        return Work(self.num_bytes + other.num_bytes, self.flops + other.flops)


@dataclass(frozen=True, slots=True)
class Floor:
    """No pass can be quicker than `ms`, the larger of both."""

    memory_ms: float
    compute_ms: float

    @property
    def ms(self) -> float:
        return max(self.memory_ms, self.compute_ms)

    @property
    def bound(self) -> str:
        return "memory" if self.memory_ms >= self.compute_ms else "compute"


def body_weights(c: ModelConfig) -> int:
    """Values of the linear layers of all blocks, without biases."""
    attention = c.hidden_size * (2 * c.num_heads + 2 * c.num_kv_heads) * c.head_dim
    return c.num_layers * (attention + 3 * c.hidden_size * c.intermediate_size)


def head_weights(c: ModelConfig) -> int:
    return c.vocab_size * c.hidden_size


def small_values(c: ModelConfig) -> int:
    """Norms and biases."""
    biases = (c.num_heads + 2 * c.num_kv_heads) * c.head_dim if c.qkv_bias else 0
    return c.num_layers * (2 * c.hidden_size + biases) + c.hidden_size


def num_parameters(c: ModelConfig) -> int:
    """Of the whole checkpoint; a tied head counts once."""
    tables = head_weights(c) * (1 if c.tied_head else 2)
    return body_weights(c) + tables + small_values(c)


def kv_bytes_per_token(c: ModelConfig, bytes_per_value: float) -> float:
    return 2 * c.num_layers * c.num_kv_heads * c.head_dim * bytes_per_value


def pass_work(c: ModelConfig, storage: Storage, one: Pass) -> Work:
    """Bytes and operations of `one` pass of a model with config `c`."""
    adapter = storage.adapter_values if one.adapter_rows else 0
    weights = body_weights(c) + (head_weights(c) if one.head_rows else 0) + adapter
    values = small_values(c) + one.num_tokens * c.hidden_size
    kv = kv_bytes_per_token(c, storage.bytes_per_value) * (one.cached + one.num_tokens)
    num_bytes = weights * storage.bytes_per_weight + values * storage.bytes_per_value + kv
    products = body_weights(c) * one.num_tokens + head_weights(c) * one.head_rows
    attention = 2 * c.num_layers * c.num_heads * c.head_dim * one.num_pairs
    return Work(num_bytes, 2.0 * (products + adapter * one.adapter_rows + attention))


def floor_of(work: Work, bytes_per_s: float, flops_per_s: float) -> Floor:
    return Floor(work.num_bytes / bytes_per_s * 1e3, work.flops / flops_per_s * 1e3)
