"""Keys and values of one token sequence, for every layer; owned by the engine thread.

Every forward writes its keys and values *behind* the committed length, as scratch. Only `commit`
moves that length, and only over final tokens that saw a causal view: whatever else a pass wrote is
overwritten by the next forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import torch

from engine.models.config import ModelConfig

_GROWTH_TOKENS = 512


class KVCache:
    """Layout per layer: keys and values (num_kv_heads, capacity, head_dim), contiguous.

    Invariant: ``tokens[i]`` is the token whose keys and values stand at position i.
    """

    def __init__(self, config: ModelConfig, device: torch.device, dtype: torch.dtype) -> None:
        self._config, self._device, self._dtype = config, device, dtype
        self._capacity, self._is_borrowed = 0, False
        self.tokens: list[int] = []
        self._keys: list[torch.Tensor] = []
        self._values: list[torch.Tensor] = []
        self._grow(_GROWTH_TOKENS)

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def length(self) -> int:
        """Committed tokens."""
        return len(self.tokens)

    @property
    def num_bytes(self) -> int:
        return sum(t.nbytes for t in (*self._keys, *self._values))

    def reserve(self, num_tokens: int) -> None:
        """Make room for `num_tokens` behind the committed ones."""
        needed = self.length + num_tokens
        if needed > self._capacity or self._is_borrowed:
            self._grow(needed)

    def _grow(self, capacity: int) -> None:
        capacity = -(-capacity // _GROWTH_TOKENS) * _GROWTH_TOKENS
        c = self._config
        shape = (c.num_kv_heads, capacity, c.head_dim)
        for store in (self._keys, self._values):
            for layer in range(c.num_layers):
                new = torch.zeros(shape, device=self._device, dtype=self._dtype)
                if store and layer < len(store):
                    new[:, : self.length] = store[layer][:, : self.length]
                    store[layer] = new
                else:
                    store.append(new)
        self._capacity, self._is_borrowed = capacity, False

    def fork(self, length: int) -> KVCache:
        """A cache of its own that begins with the first `length` committed tokens of this one.

        Their rows are only lent until the fork's first forward, which copies them, as attention
        wants each sequence in one piece. Until then this cache must not crop into them.
        """
        assert length <= self.length
        fork = copy(self)
        fork.tokens = self.tokens[:length]
        fork._keys = [keys[:, :length] for keys in self._keys]
        fork._values = [values[:, :length] for values in self._values]
        fork._capacity, fork._is_borrowed = length, True
        return fork

    def write(
        self, layer: int, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Put (num_kv_heads, T, head_dim) behind the committed tokens, as scratch.

        Returns views (num_kv_heads, length + T, head_dim) of committed and new together.
        """
        start, end = self.length, self.length + keys.shape[1]
        self._keys[layer][:, start:end] = keys
        self._values[layer][:, start:end] = values
        return self._keys[layer][:, :end], self._values[layer][:, :end]

    def buffers(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values (num_kv_heads, capacity, head_dim) as they are stored, for a forward that
        writes its scratch by itself; `reserve` comes first."""
        return self._keys[layer], self._values[layer]

    def committed(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Views (num_kv_heads, length, head_dim) of the committed part."""
        return self._keys[layer][:, : self.length], self._values[layer][:, : self.length]

    def commit(self, tokens: Sequence[int]) -> None:
        """Take over the first ``len(tokens)`` rows of the last forward, which were causal."""
        assert self.length + len(tokens) <= self._capacity
        self.tokens.extend(tokens)

    def crop(self, length: int) -> None:
        """Forget everything from position `length` on."""
        del self.tokens[length:]

    def check_integrity(self) -> None:
        """Raises AssertionError when the books do not balance."""
        assert len(self._keys) == len(self._values) == self._config.num_layers
        assert all(k.shape[1] == self._capacity for k in (*self._keys, *self._values))
        assert self.length <= self._capacity
