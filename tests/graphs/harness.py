"""What is done by a static pass and by `run_forward`, side by side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from engine.decoding.blocks import block_view
from engine.decoding.forward import Forward, Output, prefill, run_forward
from engine.decoding.loop import Limits, Meter, run_steps
from engine.decoding.shared_pass import shared_offsets, shared_view
from engine.device import choose_device
from engine.graphs.backends import Backend
from engine.graphs.ops import Ops
from engine.graphs.runner import GraphRunner
from engine.kv_cache import KVCache
from engine.models.decoder import Decoder
from engine.models.load import load_model
from engine.models.survey import Choosable, survey

TOLERANCE = {"atol": 2e-4, "rtol": 2e-4}


class Way(NamedTuple):
    device: torch.device
    ops: Ops
    backend: Backend


def plain_decoder(folder: Path, device: torch.device, dtype: str) -> Decoder:
    choice = choose_device(str(device), dtype, 1)
    return load_model(folder, choice, pack=False).decoder


def choosable_of(decoder: Decoder) -> Choosable:
    """All but the mask and some more ids; what ends a text are the model's own end ids."""
    forbidden = torch.zeros(decoder.config.vocab_size, dtype=torch.bool, device=decoder.device)
    forbidden[[3, 5, decoder.config.mask_token_id, decoder.config.vocab_size - 1]] = True
    return Choosable.of(forbidden, decoder.config.eos_token_ids)


def runner_of(decoder: Decoder, ops: Ops, backend: Backend, **options: int) -> GraphRunner:
    return GraphRunner(decoder, ops, choosable_of(decoder), backend, **options)


def tokens(num: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(110, 500, (num,), generator=generator).tolist()


def filled(decoder: Decoder, num_tokens: int, seed: int = 0) -> KVCache:
    """A cache of so many tokens; what lies behind them is NaN."""
    cache = decoder.new_cache()
    for layer in range(decoder.config.num_layers):
        for each in cache.buffers(layer):
            each.fill_(float("nan"))
    if num_tokens:
        run_steps(prefill(tokens(num_tokens, seed), cache, 512), decoder, cache, Meter(), Limits())
    return cache


View = Callable[[Decoder, int, int], Forward]


def causal(decoder: Decoder, R: int, T: int) -> Forward:
    return Forward("verify", torch.tensor([tokens(T, seed) for seed in range(R)]), "causal")


def full(decoder: Decoder, R: int, T: int) -> Forward:
    """A block: a seed and masks."""
    ids = torch.tensor([tokens(T, seed) for seed in range(R)])
    ids[:, 1:] = decoder.config.mask_token_id
    return Forward("draft", ids, "full", draft_adapter=True)


def block(decoder: Decoder, R: int, T: int) -> Forward:
    """Masks between visible tokens, as in a denoising step, and a suffix head further right."""
    ids = torch.tensor([tokens(T, seed) for seed in range(R)])
    ids[:, 1::2] = decoder.config.mask_token_id
    offsets = torch.tensor([*range(T - 1), T + 3])
    return Forward("denoise", ids, block_view(ids[0], decoder.config), offsets, draft_adapter=True)


def shared(decoder: Decoder, R: int, T: int) -> Forward:
    """quad_spec's pass: visible tokens, and masks behind each."""
    num_visible = (T + 1) // 2
    each, more = divmod(T - num_visible, num_visible)
    lengths = [each + (at < more) for at in range(num_visible)]
    ids = torch.tensor([tokens(T, seed) for seed in range(R)])
    ids[:, num_visible:] = decoder.config.mask_token_id
    host = torch.device("cpu")
    view, offsets = shared_view(lengths, host), shared_offsets(lengths, host)
    adapter = decoder.config.adapter_scope == "masks"
    return Forward("verify", ids, view, offsets, draft_adapter=adapter)


def rows(decoder: Decoder, R: int, T: int) -> Forward:
    """Rows of different lengths, each with a view of its own, as in the length search."""
    ids = torch.tensor([tokens(T, seed) for seed in range(R)])
    view = torch.eye(T, dtype=torch.bool).repeat(R, 1, 1)
    for at in range(R):
        view[at, : T - at, : T - at] = True
    return Forward("denoise", ids, view)


VIEWS: dict[str, View] = {
    "causal": causal,
    "full": full,
    "block": block,
    "shared": shared,
    "rows": rows,
}


def assert_same_pass(
    forward: Forward, num_cached: int, decoder: Decoder, runner: GraphRunner
) -> Output:
    """A static pass gives what `run_forward` gives, and leaves the same in the cache."""
    caches = [filled(decoder, num_cached), filled(decoder, num_cached)]
    expected = run_forward(forward, decoder, caches[0])
    found = runner.run(forward, caches[1])
    assert found is not None, runner.problem
    torch.testing.assert_close(found.hidden, expected.hidden, **TOLERANCE)
    choosable = choosable_of(decoder)
    R, T = forward.ids.shape
    for at in range(R):
        logits = expected.logits(slice(None), at)
        torch.testing.assert_close(found.logits(slice(None), at), logits, **TOLERANCE)
        told = found.scores(slice(None), at).survey(runner.choosable)
        slow = survey(logits, choosable.penalty, choosable.end_ids)
        for one, other in zip(told[1:], slow[1:], strict=True):
            torch.testing.assert_close(one, other.cpu(), **TOLERANCE)
        chosen = logits.cpu().gather(1, told.tokens.unsqueeze(1)).squeeze(1)
        torch.testing.assert_close(chosen, slow.best.cpu(), **TOLERANCE)
    if R == 1:
        assert_same_cache(*caches, num_cached + T)
    return found


def assert_same_cache(cache: KVCache, other: KVCache, length: int) -> None:
    """In the first `length` positions, committed or scratch."""
    assert cache.tokens == other.tokens
    for layer in range(len(cache._keys)):
        for one, two in zip(cache.buffers(layer), other.buffers(layer), strict=True):
            torch.testing.assert_close(one[:, :length], two[:, :length], **TOLERANCE)
            assert not one[:, :length].isnan().any()
