"""Subject: one loaded model on one path, and what a pass of it must move and compute."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch

from engine.bench.costs import (
    Pass,
    Storage,
    Work,
    body_weights,
    head_weights,
    kv_bytes_per_token,
    pass_work,
)
from engine.bench.paths import EnginePath
from engine.bench.shapes import check_memory, needed_bytes, random_decoder, shape_config
from engine.bench.timing import Sample, timed
from engine.config import EngineConfig
from engine.device import DeviceChoice, choose_device
from engine.engine import Engine
from engine.graphs.choice import choose_passes, wants_plain_weights
from engine.graphs.runner import GraphRunner
from engine.kv_cache import KVCache
from engine.models.decoder import Decoder
from engine.models.survey import Choosable
from engine.native import library

_CHUNK_TOKENS = {"cpu": 64, "cuda": 512}
_RATES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


@dataclass(slots=True)
class Subject:
    """label: which model. engine: None for random weights, which answer no request. num_threads:
    the most it may use on a CPU; torch_threads, native_threads: those set when it was loaded.
    facts: how device, storage and threads were chosen. runner: does passes as static ones, where
    it can."""

    path: str
    label: str
    decoder: Decoder
    engine: Engine | None
    storage: Storage
    num_threads: int
    chunk_tokens: int
    facts: tuple[str, ...] = ()
    runner: GraphRunner | None = None
    torch_threads: int = field(default_factory=torch.get_num_threads)
    native_threads: int | None = field(default_factory=library.num_threads)
    _caches: dict[int, KVCache] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        return self.decoder.device

    def take_threads(self) -> None:
        """Set this path's own numbers of threads, which are the process's: another path may have
        set others."""
        if self.device.type == "cpu":
            torch.set_num_threads(self.torch_threads)
        if self.native_threads is not None:
            library.set_threads(self.native_threads)

    def timed(self, run: Callable[[], object]) -> Sample:
        """Time `run` with the threads of this path."""
        self.take_threads()
        return timed(self.device, run)

    @property
    def is_random(self) -> bool:
        return self.engine is None

    def work(self, one: Pass) -> Work:
        return pass_work(self.decoder.config, self.storage, one)

    def cache(self, length: int) -> KVCache:
        """A cache of `length` committed tokens with drawn keys and values; made once."""
        if length not in self._caches:
            self._caches[length] = _drawn_cache(self.decoder, length)
        return self._caches[length]

    def drop_caches(self) -> None:
        self._caches.clear()


def load_subjects(
    paths: Sequence[EnginePath],
    common: EngineConfig,
    shape: str | None,
    cached: Sequence[int] = (),
) -> list[Subject]:
    """The model on each of `paths`, with room for a cache of each length of `cached`. Raises
    EngineError and what Engine.load raises."""
    if shape is None:
        subjects = [_stored(path, path.config(common)) for path in paths]
        config = subjects[0].decoder.config
        sizes = [kv_bytes_per_token(config, s.storage.bytes_per_value) for s in subjects]
        needed = sum(sizes) * sum(set(cached))
        check_memory("What is to be cached", needed, subjects[0].device)
        return subjects
    return [_drawn(path, path.config(common), shape, sum(set(cached))) for path in paths]


def _stored(path: EnginePath, config: EngineConfig) -> Subject:
    engine = Engine.load(config)
    label = config.model.rstrip("/").rpartition("/")[2]
    facts = (*engine.choice.reasons, *engine.notes, *engine.passes.notes)
    made = _subject(path, label, engine.decoder, engine, engine.choice, facts)
    return replace(made, runner=engine.passes.runner)


def _drawn(path: EnginePath, asked: EngineConfig, shape: str, num_cached: int) -> Subject:
    choice = choose_device(asked.device, asked.dtype, asked.num_threads, asked.weights)
    needed = needed_bytes(shape_config(shape), choice.dtype.itemsize, num_cached)
    check_memory(f"Shape {shape} on path {path.name}", needed, choice.device)
    if choice.device.type == "cpu":
        torch.set_num_threads(choice.num_threads)
    pack = not wants_plain_weights(asked.graphs, choice.device)
    decoder, note = random_decoder(shape, choice, pack=pack)
    label = f"{shape} shape, random weights"
    made = _subject(path, label, decoder, None, choice, (*choice.reasons, note))
    c = decoder.config
    forbidden = torch.zeros(c.vocab_size, dtype=torch.bool, device=decoder.device)
    passes = choose_passes(
        decoder, Choosable.of(forbidden, c.eos_token_ids), asked.graphs, asked.kernels
    )
    return replace(made, runner=passes.runner, facts=(*made.facts, *passes.notes))


def _subject(
    path: EnginePath,
    label: str,
    decoder: Decoder,
    engine: Engine | None,
    choice: DeviceChoice,
    facts: Sequence[str],
) -> Subject:
    storage = storage_of(decoder)
    threads = max(choice.native_threads) if storage.rate == "int8" else choice.num_threads
    chunk = engine.tools.prefill_chunk_tokens if engine else _CHUNK_TOKENS[decoder.device.type]
    return Subject(path.name, label, decoder, engine, storage, threads, chunk, tuple(facts))


def storage_of(decoder: Decoder) -> Storage:
    """How the weights of `decoder` are stored, its adapter's and its head's among them."""
    linears = [
        linear
        for layer in decoder.layers
        for linear in (layer.qkv, layer.out, layer.gate_up, layer.down)
    ]
    adapters = [linear.adapter for linear in linears if linear.adapter is not None]
    num_adapter_values = sum(each.down.numel() + each.up.numel() for each in adapters)
    size = float(decoder.dtype.itemsize)
    packed = [linear.int8 for linear in (*linears, decoder.head) if linear.int8 is not None]
    rounded = [each.quantised for each in (*linears, decoder.head) if each.quantised is not None]
    num_rounded = sum(each.numel() for each in rounded)
    num_packed = sum(each.num_outputs * each.num_inputs for each in packed)
    num_weights = body_weights(decoder.config) + head_weights(decoder.config)
    num_bytes = size * (num_weights - num_packed - num_rounded)
    num_bytes += sum(each.packed.nbytes for each in packed)
    num_bytes += sum(each.nbytes for each in rounded)
    rate = "int8" if 2 * num_packed > num_weights else _RATES[decoder.dtype]
    return Storage(num_bytes / num_weights, size, rate, num_adapter_values)


def drawn_tokens(decoder: Decoder, num: int, seed: int = 0) -> list[int]:
    """Token ids, none of which is the mask."""
    rng, c = random.Random(seed), decoder.config
    return [
        id for id in (rng.randrange(c.vocab_size) for _ in range(num + 64)) if id != c.mask_token_id
    ][:num]


@torch.inference_mode()
def _drawn_cache(decoder: Decoder, length: int) -> KVCache:
    """Reading so many tokens would take far longer than what is to be measured over them."""
    c, cache = decoder.config, decoder.new_cache()
    if not length:
        return cache
    cache.reserve(length)
    generator = torch.Generator(device=decoder.device).manual_seed(length)
    shape = (c.num_kv_heads, length, c.head_dim)
    for layer in range(c.num_layers):
        keys, values = (
            torch.randn(shape, generator=generator, device=decoder.device).to(decoder.dtype)
            for _ in range(2)
        )
        cache.write(layer, keys, values)
    cache.commit(drawn_tokens(decoder, length))
    return cache
