"""Which weights an engine uses, why, and what it remembers between two starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine import native
from engine.device import choose_device
from engine.errors import EngineError
from engine.models import storage
from engine.models.config import ModelConfig, read_model_config
from engine.models.storage import choose_storage
from engine.native import choice as native_choice
from engine.native.choice import Measured, measured
from engine.native.packed_file import packed_path, read_packed, write_packed
from engine.native.weight import Int8Weight
from engine.weights.errors import WeightsError
from tests.native.models import load, write_adapter, write_model

QUICK = Measured(1, 2.0, 1.0, 1.0, 0.5)
SLOW = Measured(1, 1.0, 1.0, 0.99, 0.5)


@pytest.fixture
def config(tmp_path: Path) -> ModelConfig:
    return read_model_config(write_model(tmp_path / "model") / "config.json")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder; the library is in memory already."""
    monkeypatch.setenv("NEMODIFF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(native_choice, "find_library", lambda: Path("library.so"))
    return tmp_path / "cache"


def decide(config: ModelConfig, weights: str, *, dtype: str = "auto") -> storage.Storage:
    choice = choose_device("cpu", dtype, None, weights)  # type: ignore[arg-type]
    return choose_storage(choice, config, lambda phase, fraction: None)


@pytest.mark.parametrize(("found", "kind"), [(QUICK, "int8"), (SLOW, None)])
def test_auto_is_what_was_measured_to_be_quicker(
    built: None,
    config: ModelConfig,
    monkeypatch: pytest.MonkeyPatch,
    found: Measured,
    kind: str | None,
) -> None:
    monkeypatch.setattr(storage, "_MIN_WEIGHTS", 0)
    monkeypatch.setattr(native_choice, "measured", lambda *args, **options: found)
    decided = decide(config, "auto")
    assert decided.kind == (kind or decide(config, "full").kind)
    assert found.reason in decided.note and "measured once" in decided.note


@pytest.mark.parametrize(
    ("slower", "is_worth_it"),
    [
        ({}, True),
        ({"int8_token_s": 1.1}, False),
        ({"int8_block_s": 1.9}, False),
        ({"torch_block_s": 1.1}, False),
    ],
)
def test_int8_must_be_worth_its_loss(slower: dict[str, float], is_worth_it: bool) -> None:
    facts = {"torch_block_s": 2.0, "torch_token_s": 1.0, "int8_block_s": 1.0, "int8_token_s": 0.5}
    assert Measured(1, **{**facts, **slower}).is_worth_it is is_worth_it


@pytest.mark.parametrize(
    ("prompt_s", "block_s", "is_worth_it"),
    [(0.6, 1.0, True), (0.6, 0.7, True), (0.9, 0.7, False), (0.6, 1.2, False)],
)
def test_a_second_thread_must_pay_off_in_prompts(
    prompt_s: float, block_s: float, is_worth_it: bool
) -> None:
    best = {(1, 64): 1.0, (1, 8): 1.0, (2, 64): prompt_s, (2, 8): block_s}
    assert native_choice._is_worth_threads(best, 1, 2) is is_worth_it


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_who_asks_for_a_dtype_gets_it(config: ModelConfig, dtype: str) -> None:
    assert decide(config, "auto", dtype=dtype).kind != "int8"


def test_without_kernels_auto_falls_back_and_says_so(
    config: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_MIN_WEIGHTS", 0)
    monkeypatch.setattr(native, "problem", lambda: "no C++ compiler is installed")
    decided = decide(config, "auto")
    assert decided.kind == decide(config, "full").kind
    assert "Not int8, since no C++ compiler is installed." in decided.note
    with pytest.raises(EngineError, match="no C\\+\\+ compiler"):
        decide(config, "int8")


def test_a_small_model_is_not_worth_building_for(
    config: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise AssertionError("the kernels were asked for")

    monkeypatch.setattr(native, "problem", fail)
    assert decide(config, "auto") == decide(config, "full")


def test_a_wish_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(EngineError, match="'int2' are not known: use auto, full, int8, int4 or"):
        choose_device("cpu", "auto", None, "int2")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("physical", "logical", "threads"), [(1, 1, (1,)), (2, 2, (1, 2)), (4, 8, (3,)), (16, 32, (4,))]
)
def test_threads_leave_a_core_to_the_editor(
    monkeypatch: pytest.MonkeyPatch, physical: int, logical: int, threads: tuple[int, ...]
) -> None:
    monkeypatch.setattr("psutil.cpu_count", lambda logical: physical)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(logical)), raising=False)
    assert choose_device("cpu", "auto", None).native_threads == threads
    assert choose_device("cpu", "auto", 3).native_threads == (3,)


def test_a_machine_is_measured_once(
    built: None, threads: None, config: ModelConfig, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = measured(config, torch.float32, [1, 2], packed=False)
    assert first.num_threads in (1, 2)

    def fail(*args: object) -> Measured:
        raise AssertionError("measured again")

    monkeypatch.setattr(native_choice, "_measure", fail)
    assert measured(config, torch.float32, [1, 2], packed=False) == first
    with pytest.raises(AssertionError, match="again"):
        measured(config, torch.bfloat16, [1, 2], packed=False)
    (remembered,) = (cache / "native").glob("choice-*.json")
    remembered.write_text("{}")
    with pytest.raises(AssertionError, match="again"):
        measured(config, torch.float32, [1, 2], packed=False)


def installed(cache: Path) -> Path:
    return write_model(cache / "models" / "one")


def test_packed_weights_are_kept_beside_an_installed_model(built: None, cache: Path) -> None:
    folder = installed(cache)
    adapter = write_adapter(cache / "adapter", folder)
    first = load(folder, causal_adapter=adapter).decoder
    (kept,) = folder.glob("*.int8")
    # What is kept is taken: with other bytes in it, other numbers come out.
    ids = torch.tensor([[200, 201, 202]])

    def logits() -> torch.Tensor:
        decoder = load(folder, causal_adapter=adapter).decoder
        return decoder.logits(decoder.forward(ids, decoder.new_cache(), visible=None))

    expected = first.logits(first.forward(ids, first.new_cache(), visible=None))
    assert torch.equal(logits(), expected)
    weights = read_packed(kept)
    assert weights is not None and len(weights) == 3 * 4 + 1
    weights["layers.0.down"].packed[: 128 * 192] = 128
    assert write_packed(kept, weights)
    assert not torch.allclose(logits(), expected)
    # Another adapter, other weights; the older file goes.
    load(folder)
    (other,) = folder.glob("*.int8")
    assert other != kept


@pytest.mark.parametrize("damage", ["cut", "empty", "no header"])
def test_a_damaged_file_is_written_anew(built: None, cache: Path, damage: str) -> None:
    folder = installed(cache)
    load(folder)
    (kept,) = folder.glob("*.int8")
    whole = kept.read_bytes()
    damaged = {"cut": whole[:-1], "empty": b"", "no header": bytes(len(whole))}
    kept.write_bytes(damaged[damage])
    load(folder)
    assert kept.read_bytes() == whole


def test_a_users_own_folder_is_not_written(built: None, cache: Path, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "own")
    load(folder)
    assert not list(folder.glob("*.int8"))


def test_a_folder_that_cannot_be_written_is_no_trouble(built: None, tmp_path: Path) -> None:
    weight = Int8Weight.of(torch.ones(32, 64))
    assert not write_packed(tmp_path / "missing" / "x.int8", {"a": weight})


def test_the_name_follows_the_files(tmp_path: Path) -> None:
    source = tmp_path / "model.safetensors"
    source.write_bytes(b"1")
    before = packed_path(tmp_path, [source])
    assert packed_path(tmp_path, [source]) == before
    source.write_bytes(b"12")
    assert packed_path(tmp_path, [source]) != before


def test_weights_without_finite_numbers_are_refused(built: None, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = write_model(tmp_path)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][3, 4] = float("nan")
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(WeightsError, match="finite"):
        load(folder)
