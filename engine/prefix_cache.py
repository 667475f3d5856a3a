"""Keeps the KV of known documents between requests; owned by the engine thread.

Every kept cache holds causal KV of final tokens only, so any prefix of it may be used again. A hit
is decided by comparing token ids, never by a hash. A cache has one owner: whoever took it, until
it is given back.
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
        self._taken: dict[int, KVCache] = {}
        # Forks, each with the cache it was forked from.
        self._forks: dict[int, tuple[KVCache, KVCache]] = {}

    @property
    def num_bytes(self) -> int:
        """Of the kept caches, without those that are taken."""
        return sum(cache.num_bytes for cache in self._caches.values())

    @property
    def num_taken(self) -> int:
        """Caches that somebody owns at this moment."""
        return len(self._taken)

    @property
    def num_forks(self) -> int:
        """Forks of taken caches that somebody owns at this moment."""
        return len(self._forks)

    @property
    def documents(self) -> tuple[str, ...]:
        """Whose KV is kept, least recently used first."""
        return tuple(self._caches)

    def take(self, document: str | None, tokens: Sequence[int]) -> KVCache:
        """A cache holding a common prefix of `tokens`, short of the last one, whose logits are
        needed. It belongs to the caller until it is given back. Whoever takes the cache of a
        document that is taken already gets an empty one."""
        cache = self._caches.pop(document, None) if document is not None else None
        if cache is None:
            cache = self._new_cache()
        else:
            cache.crop(min(common_prefix_length(cache.tokens, tokens), len(tokens) - 1))
        self._taken[id(cache)] = cache
        return cache

    def give_back(self, document: str | None, cache: KVCache) -> None:
        """Keep `cache`, which was taken, for the next request of `document` (None: forget it)."""
        assert all(origin is not cache for _, origin in self._forks.values())
        del self._taken[id(cache)]
        if document is None:
            return
        self._caches[document] = cache
        self._caches.move_to_end(document)
        # The newest always stays: the next keystroke is for it, whatever its size.
        while len(self._caches) > 1 and self.num_bytes > self._max_bytes:
            self._caches.popitem(last=False)

    def fork(self, cache: KVCache, length: int) -> KVCache:
        """See `KVCache.fork`. `cache` is taken and must not be given back before the fork is
        dropped."""
        assert id(cache) in self._taken
        fork = cache.fork(length)
        self._forks[id(fork)] = (fork, cache)
        return fork

    def drop(self, fork: KVCache) -> None:
        """Forget `fork`."""
        del self._forks[id(fork)]

    def clear(self) -> None:
        """Forget what is kept; what is taken stays its owner's."""
        self._caches.clear()

    def check_integrity(self, *, num_taken: int = 0) -> None:
        """Raises AssertionError when the books do not balance, when not exactly `num_taken` caches
        are out, or when a fork has outlived the cache that it was forked from."""
        forks = [fork for fork, _ in self._forks.values()]
        for cache in (*self._caches.values(), *self._taken.values(), *forks):
            cache.check_integrity()
        assert self.num_bytes <= self._max_bytes or len(self._caches) <= 1
        assert self.num_taken == num_taken
        assert not {id(cache) for cache in self._caches.values()} & set(self._taken)
        assert all(id(origin) in self._taken for _, origin in self._forks.values())


def common_prefix_length(a: Sequence[int], b: Sequence[int]) -> int:
    length = 0
    for left, right in zip(a, b, strict=False):
        if left != right:
            break
        length += 1
    return length
