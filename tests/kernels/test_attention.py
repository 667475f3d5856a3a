"""Split-KV attention against its twin: sizes, masks, lengths that change, and what stays unread."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.decoding.shared_pass import shared_view
from engine.kv_cache import KVCache
from engine.models.config import read_model_config
from tests.models.checkpoints import TINY

pytest.importorskip("triton", reason="triton is not installed")

from engine.kernels.attention import attend_split, num_row_tiles, num_splits_for
from tests.kernels.attention_case import LAYER, make_case

SMALL = (4, 2, 16)

SIZES = [
    # rows, tokens, heads, cached tokens, splits
    (1, 1, (2, 2, 16), 0, 1),
    (1, 1, (8, 1, 32), 300, 16),
    (4, 1, SMALL, 65, 4),
    (1, 3, (6, 2, 32), 1, 4),
    (3, 3, SMALL, 64, 7),
    (2, 8, (14, 2, 16), 63, 4),
    (3, 5, SMALL, 0, 7),
    (2, 17, (3, 1, 64), 300, 4),
    (1, 17, (2, 2, 128), 65, 7),
    (2, 32, SMALL, 130, 7),
    (4, 16, SMALL, 63, 1),
    (1, 64, (4, 1, 16), 300, 16),
]


@pytest.mark.parametrize(("rows", "tokens", "heads", "length", "num_splits"), SIZES)
def test_sizes(
    device: torch.device,
    dtype: torch.dtype,
    rows: int,
    tokens: int,
    heads: tuple[int, int, int],
    length: int,
    num_splits: int,
) -> None:
    case = make_case(device, dtype, rows=rows, tokens=tokens, heads=heads, length=length)
    found = case.attend(num_splits)
    assert found.shape == (rows, tokens, heads[0] * heads[2])
    assert found.dtype == dtype
    case.check(found)


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 63, 64, 65, 127, 128, 129])
@pytest.mark.parametrize("num_splits", [1, 3, 5])
def test_every_block_border(device: torch.device, length: int, num_splits: int) -> None:
    case = make_case(device, torch.float32, rows=1, tokens=2, heads=(2, 1, 16), length=length)
    case.check(case.attend(num_splits))


MASKS = {
    "bidirectional": torch.ones(7, 7, dtype=torch.bool),
    "only itself": torch.eye(7, dtype=torch.bool),
    "masks behind each token": shared_view([2, 0, 1, 0], torch.device("cpu")),
    "masks behind the last token": shared_view([0, 0, 0, 3], torch.device("cpu")),
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("as_bytes", [False, True])
def test_masks(device: torch.device, dtype: torch.dtype, name: str, as_bytes: bool) -> None:
    visible = MASKS[name].to(torch.uint8 if as_bytes else torch.bool)
    case = make_case(device, dtype, rows=2, tokens=7, heads=SMALL, length=40, visible=visible)
    case.check(case.attend(2))


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_mask(device: torch.device, data: st.DataObject) -> None:
    tokens = data.draw(st.integers(1, 12))
    rows = data.draw(st.integers(1, 4))
    seen = data.draw(st.lists(st.booleans(), min_size=rows * tokens**2, max_size=rows * tokens**2))
    # Each sequence has a mask of its own, and each query sees at least itself.
    visible = torch.tensor(seen).view(rows, tokens, tokens) | torch.eye(tokens, dtype=torch.bool)
    length = data.draw(st.integers(0, 100))
    case = make_case(
        device,
        data.draw(st.sampled_from([torch.float32, torch.bfloat16])),
        rows=rows,
        tokens=tokens,
        heads=data.draw(st.sampled_from([(2, 1, 16), (3, 3, 16), (10, 2, 16)])),
        length=length,
        visible=visible,
        seed=length,
    )
    case.check(case.attend(data.draw(st.sampled_from([1, 2, 5]))))


def test_the_length_is_read_on_the_device(device: torch.device, dtype: torch.dtype) -> None:
    """The same arguments serve other lengths: nothing of a length is in the launch."""
    case = make_case(device, dtype, rows=2, tokens=3, heads=SMALL, length=200)
    for length in (200, 0, 65, 7, 128):
        case.length.fill_(length)
        replace(case, num_cached=length).check(case.attend(4))


def test_another_cache_behind_the_same_arguments(device: torch.device) -> None:
    case = make_case(device, torch.float32, rows=1, tokens=3, heads=SMALL, length=50)
    other = make_case(device, torch.float32, rows=1, tokens=3, heads=SMALL, length=90, seed=1)
    before = case.attend(3)
    for mine, theirs in zip(
        (case.pointers, case.length, case.head_stride),
        (other.pointers, other.length, other.head_stride),
        strict=True,
    ):
        mine.copy_(theirs)
    moved = replace(case, keys=other.keys, values=other.values, num_cached=90)
    found = case.attend(3)
    moved.check(found)
    assert not torch.equal(found, before)


@pytest.mark.gpu
def test_a_captured_graph_serves_every_length() -> None:
    device = torch.device("cuda")
    case = make_case(device, torch.bfloat16, rows=1, tokens=32, heads=(32, 8, 128), length=3000)
    case.attend(8)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = case.attend(8)
    for length in (3000, 0, 1, 64, 2049):
        case.length.fill_(length)
        graph.replay()
        replace(case, num_cached=length).check(found)


@pytest.mark.gpu
def test_nothing_waits_for_the_device() -> None:
    device = torch.device("cuda")
    case = make_case(device, torch.bfloat16, rows=1, tokens=8, heads=SMALL, length=100)
    case.attend(4)
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = case.attend(4)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    case.check(found)


def test_a_sequence_sees_no_other_one(device: torch.device) -> None:
    case = make_case(device, torch.float32, rows=3, tokens=4, heads=SMALL, length=20)
    before = case.attend(2)
    case.new_keys[1] += 1.0
    case.new_values[1] += 1.0
    after = case.attend(2)
    assert torch.equal(after[[0, 2]], before[[0, 2]])
    assert not torch.equal(after[1], before[1])


@pytest.mark.parametrize("length", [0, 33])
def test_a_query_that_sees_nothing_new(device: torch.device, length: int) -> None:
    """Rows that pad a pass: zeros where there is no key at all, and no harm to the others."""
    visible = torch.ones(4, 4, dtype=torch.bool).tril_()
    visible[2:] = False
    case = make_case(
        device, torch.float32, rows=1, tokens=4, heads=SMALL, length=length, visible=visible
    )
    found = case.attend(3)
    if length:
        case.check(found)
    else:
        torch.testing.assert_close(found[:, :2], case.expected()[:, :2])
        assert not found[:, 2:].any()


@pytest.mark.filterwarnings("ignore:.*(invalid value|All-NaN).*:RuntimeWarning")
def test_a_broken_query_is_not_hidden(device: torch.device, dtype: torch.dtype) -> None:
    case = make_case(device, dtype, rows=1, tokens=3, heads=(2, 1, 16), length=70)
    case.q[0, 1] = torch.nan
    found = case.attend(4)
    assert found[0, 1].isnan().all()
    assert found[0, [0, 2]].isfinite().all()


def test_out_is_written_and_nothing_else(device: torch.device, dtype: torch.dtype) -> None:
    case = make_case(device, dtype, rows=1, tokens=3, heads=SMALL, length=10)
    room = torch.full((3, 3, 64), torch.nan, device=device, dtype=dtype)
    found = case.attend(2, out=room[1:2])
    assert found.data_ptr() == room[1].data_ptr()
    case.check(found)
    assert room[0].isnan().all() and room[2].isnan().all()


def test_the_engines_own_cache(device: torch.device) -> None:
    """Its buffers are what the addresses and the stride say, also after it has grown."""
    config = read_model_config(TINY / "config.json")
    heads = (config.num_heads, config.num_kv_heads, config.head_dim)
    case = make_case(device, torch.float32, rows=1, tokens=3, heads=heads, length=520)
    cache = KVCache(config, device, torch.float32)
    cache.reserve(520)
    for layer in range(config.num_layers):
        for own, drawn in zip(cache.buffers(layer), (case.keys, case.values), strict=True):
            own.fill_(torch.nan)
            own[:, :520] = drawn[:, :520] + layer
    cache.commit(range(520))
    addresses = [
        [buffer.data_ptr() for buffer in cache.buffers(layer)] for layer in range(config.num_layers)
    ]
    stride = cache.buffers(LAYER)[0].stride(0)
    assert stride != case.keys.stride(0)
    mine = replace(
        case,
        keys=case.keys + LAYER,
        values=case.values + LAYER,
        pointers=torch.tensor(addresses, device=device),
        head_stride=torch.tensor([stride], device=device),
    )
    mine.check(mine.attend(3))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"q": torch.zeros(1, 65, 4, 16)}, "65 new tokens"),
        ({"q": torch.zeros(1, 3, 4, 48)}, "head_dim 48"),
        ({"q": torch.zeros(1, 3, 5, 16)}, "5 query heads"),
        ({"q": torch.zeros(1, 3, 4, 16, dtype=torch.bfloat16)}, "new_keys must be torch.bfloat16"),
        ({"q": torch.zeros(1, 3, 16, 4).transpose(2, 3)}, "q must be .* contiguous"),
        ({"new_values": torch.zeros(1, 2, 2, 16)}, r"new_values must be .*\(1, 3, 2, 16\)"),
        ({"visible": torch.ones(1, 2, 3, dtype=torch.bool)}, r"\(1, 3, 3\)"),
        ({"visible": torch.ones(1, 3, 3)}, "torch.bool or torch.uint8"),
        ({"pointers": torch.zeros(1, 2, dtype=torch.int64)}, "layer 1"),
        ({"out": torch.zeros(1, 3, 63)}, "out must be torch.float32"),
        ({"num_splits": 0}, "1 to 64"),
        ({"num_splits": 65}, "1 to 64"),
    ],
)
def test_what_does_not_fit_is_told(change: dict[str, object], told: str) -> None:
    case = make_case(torch.device("cpu"), torch.float32, rows=1, tokens=3, heads=SMALL, length=4)
    arguments: dict[str, object] = {
        "q": case.q,
        "pointers": case.pointers,
        "layer": LAYER,
        "length": case.length,
        "head_stride": case.head_stride,
        "new_keys": case.new_keys,
        "new_values": case.new_values,
        "visible": case.visible,
        "num_splits": 2,
    }
    with pytest.raises(ValueError, match=told):
        attend_split(**(arguments | change))  # type: ignore[arg-type]


def test_the_number_of_splits() -> None:
    # Short prefixes are not split; each split has about 256 keys; then the chip is full twice.
    assert [num_splits_for(n, 8, 2, 132) for n in (0, 1, 256, 257, 2048)] == [1, 1, 1, 2, 8]
    assert num_splits_for(8192, 8, 2, 132) == 16
    assert num_splits_for(8192, 8, 1, 132) == 32
    # A chip that one split fills already, and a kernel that joins no more than 64.
    assert num_splits_for(8192, 8, 4, 16) == 1
    assert num_splits_for(1_000_000, 1, 1, 132) == 64


def test_the_number_of_row_tiles() -> None:
    # One token of four heads is one small tile; 128 rows are two tiles of 64, 33 rows one.
    assert num_row_tiles(1, 32, 8) == 1
    assert num_row_tiles(32, 32, 8) == 2
    assert num_row_tiles(11, 6, 2) == 1
    assert num_row_tiles(64, 64, 8) == 8
    assert num_row_tiles(11, 12, 2) == 2
