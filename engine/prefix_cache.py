"""Keeps the KV of known documents between requests; owned by the engine thread.

Every kept cache holds causal KV of final tokens only, so any prefix of it may be used again. A hit
is decided by comparing token ids, never by a hash.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from engine.kv_cache import KVCache


class PrefixCache:
    """One KVCache per document, least recently used out first, bounded in bytes."""

    def __init__(self, new_cache: Callable[[], KVCache], max_bytes: int) -> None:
        self._new_cache, self._max_bytes = new_cache, max_bytes
        self._caches: OrderedDict[str, KVCache] = OrderedDict()

    @property
    def num_bytes(self) -> int:
        return sum(cache.num_bytes for cache in self._caches.values())

    def take(self, document: str | None, tokens: Sequence[int]) -> KVCache:
        """A cache holding a common prefix of `tokens`, short of the last one, whose logits are
        needed. It belongs to the caller until it is given back."""
        cache = self._caches.pop(document, None) if document is not None else None
        if cache is None:
            return self._new_cache()
        cache.crop(min(common_prefix_length(cache.tokens, tokens), len(tokens) - 1))
        return cache

    def give_back(self, document: str | None, cache: KVCache) -> None:
        """Keep `cache` for the next request of `document` (None: forget it)."""
        if document is None:
            return
        self._caches[document] = cache
        self._caches.move_to_end(document)
        # The newest always stays: the next keystroke is for it, whatever its size.
        while len(self._caches) > 1 and self.num_bytes > self._max_bytes:
            self._caches.popitem(last=False)

    def check_integrity(self) -> None:
        """Raises AssertionError when the books do not balance."""
        for cache in self._caches.values():
            cache.check_integrity()
        assert self.num_bytes <= self._max_bytes or len(self._caches) <= 1


def common_prefix_length(a: Sequence[int], b: Sequence[int]) -> int:
    length = 0
    for left, right in zip(a, b, strict=False):
        if left != right:
            break
        length += 1
    return length
