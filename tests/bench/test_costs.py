"""Floors: bytes and operations of known shapes, counted by hand."""

from __future__ import annotations

import pytest

from engine.bench.ceilings import Ceilings
from engine.bench.costs import Pass, Storage, Work, floor_of, num_parameters, pass_work
from engine.bench.shapes import SHAPES, shape_config
from engine.models.config import model_config_from_dict
from tests.models.checkpoints import QWEN_CONFIG

SMALL = model_config_from_dict(QWEN_CONFIG)
BF16 = Storage(2.0, 2.0, "bfloat16")
# 3 layers; hidden 64, ffn 160, 4 heads and 2 kv heads of 16; vocabulary 640; q, k, v with bias.
BODY = 3 * (64 * 64 + 2 * 64 * 32 + 64 * 64 + 3 * 64 * 160)
HEAD = 640 * 64
SMALL_VALUES = 3 * (2 * 64 + 64 + 32 + 32) + 64


def test_one_token_reads_every_weight_and_the_cache_once() -> None:
    work = pass_work(SMALL, BF16, Pass(tokens=1, cached=100, head_rows=1))
    # The token's embedding row; keys and values of 100 cached tokens and of itself.
    values = BODY + HEAD + SMALL_VALUES + 64 + 3 * 2 * 32 * 101
    assert work.num_bytes == 2 * values
    # Scores and sums: 4 operations per pair, head and dimension.
    assert work.flops == 2 * (BODY + HEAD) + 4 * 3 * 64 * 101


def test_a_block_reads_the_weights_no_more_often() -> None:
    one = pass_work(SMALL, BF16, Pass(1, 0, head_rows=1))
    eight = pass_work(SMALL, BF16, Pass(8, 0, head_rows=8))
    assert eight.num_bytes - one.num_bytes == 2 * 7 * (64 + 3 * 2 * 32)
    causal_pairs = 8 * 9 // 2
    assert eight.flops == 8 * 2 * (BODY + HEAD) + 4 * 3 * 64 * causal_pairs


def test_without_head_rows_the_head_costs_nothing() -> None:
    with_head, without = (pass_work(SMALL, BF16, Pass(4, 0, head_rows=n)) for n in (1, 0))
    assert with_head.num_bytes - without.num_bytes == 2 * HEAD
    assert with_head.flops - without.flops == 2 * HEAD


def test_rows_share_the_prefix_and_the_adapter_counts_where_it_acts() -> None:
    storage = Storage(2.0, 2.0, "bfloat16", adapter_values=1000)
    plain = pass_work(SMALL, storage, Pass(4, 50, rows=3, head_rows=12, pairs=3 * 16))
    adapted = pass_work(SMALL, storage, Pass(4, 50, 3, head_rows=12, adapter_rows=9, pairs=3 * 16))
    assert adapted.num_bytes - plain.num_bytes == 2 * 1000
    assert adapted.flops - plain.flops == 2 * 1000 * 9
    pairs = 12 * 50 + 3 * 16
    assert plain.flops == 2 * 12 * (BODY + HEAD) + 4 * 3 * 64 * pairs
    kv = 3 * 2 * 32 * (50 + 12)
    assert plain.num_bytes == 2 * (BODY + HEAD + SMALL_VALUES + 12 * 64 + kv)


def test_narrower_weights_leave_activations_as_they_are() -> None:
    narrow = Storage(1.0625, 2.0, "int8")
    one = Pass(1, 0, head_rows=1)
    saved = pass_work(SMALL, BF16, one).num_bytes - pass_work(SMALL, narrow, one).num_bytes
    assert saved == pytest.approx((2 - 1.0625) * (BODY + HEAD))


def test_the_floor_is_the_larger_of_both() -> None:
    floor = floor_of(Work(num_bytes=2e9, flops=1e9), bytes_per_s=1e10, flops_per_s=1e11)
    assert (floor.memory_ms, floor.compute_ms, floor.ms) == (200.0, 10.0, 200.0)
    assert floor.bound == "memory"
    assert floor_of(Work(1e6, 1e12), 1e10, 1e11).bound == "compute"


def test_a_rate_that_could_not_be_measured_is_bfloat16s() -> None:
    ceilings = Ceilings(1e9, {"float32": 1e9, "bfloat16": 2e9})
    assert ceilings.floor(Work(0, 4e9), "int8").compute_ms == 2000.0
    assert ceilings.floor(Work(0, 4e9), "float32").compute_ms == 4000.0


@pytest.mark.parametrize(
    ("name", "billions", "kv_kib"),
    # As published: 494 M and 1.54 B with tied heads; 3.83, 8.49 and 13.51 B.
    [
        ("default", 0.494, 12),
        ("1.5b", 1.544, 28),
        ("3b", 3.83, 104),
        ("8b", 8.49, 136),
        ("14b", 13.51, 160),
    ],
)
def test_the_shapes_are_the_families_own(name: str, billions: float, kv_kib: int) -> None:
    config = shape_config(name)
    assert num_parameters(config) / 1e9 == pytest.approx(billions, abs=0.005)
    longer, shorter = (pass_work(config, BF16, Pass(1, n)).num_bytes for n in (1001, 1000))
    assert longer - shorter == kv_kib * 1024
    assert set(SHAPES) == {"default", "1.5b", "3b", "8b", "14b"}
