"""Models whose weights are rounded at load: on a CPU by their values, on a GPU by the kernels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import engine.kernels
from engine.device import DeviceChoice, choose_device
from engine.models import load as model_load
from engine.models.config import read_model_config
from engine.models.decoder import Decoder
from engine.models.linear import Linear
from engine.models.storage import Storage, choose_storage
from engine.quantised import kept_file
from engine.quantised.rounding import KINDS, Kind, head_kind
from engine.quantised.weight import QuantisedWeight
from engine.weights.errors import WeightsError
from tests.native.models import write_adapter, write_model

IDS = torch.tensor([[200, 201, 100, 202]])


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NEMODIFF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def load(
    folder: Path, rounding: Kind | None, storage: Storage | None = None, **adapters: Path
) -> Decoder:
    choice = choose_device("cpu", "float32", 1, "full")
    return model_load.load_model(
        folder,
        choice,
        storage=storage or Storage("plain", "", rounding=rounding),
        **adapters,  # type: ignore[arg-type]
    ).decoder


def linears(decoder: Decoder) -> dict[str, Linear]:
    found = {"head": decoder.head}
    for number, layer in enumerate(decoder.layers):
        for name in ("qkv", "out", "gate_up", "down"):
            found[f"layers.{number}.{name}"] = getattr(layer, name)
    return found


def logits(decoder: Decoder) -> torch.Tensor:
    hidden = decoder.forward(IDS, decoder.new_cache(), visible=None, draft_adapter=True)
    return decoder.logits(hidden)


@pytest.mark.parametrize("kind", KINDS)
def test_codes_and_their_values_compute_the_same(tmp_path: Path, kind: Kind) -> None:
    """The causal adapter is merged before, the draft adapter stays as it is on top."""
    folder = write_model(tmp_path / "model", intermediate_size=150)
    adapter = write_adapter(tmp_path / "adapter", folder)
    adapters = {"causal_adapter": adapter, "draft_adapter": adapter}
    codes = load(folder, kind, Storage("quantised", "", rounding=kind), **adapters)
    values, full = load(folder, kind, **adapters), load(folder, None, **adapters)
    for name, linear in linears(codes).items():
        weight, expected = linear.quantised, linears(full)[name].weight
        own = head_kind(kind) if name == "head" else kind
        assert isinstance(weight, QuantisedWeight) and linear.kind == weight.kind == own
        exact = QuantisedWeight.of(expected, own).dequantise(torch.float32)
        assert torch.equal(weight.dequantise(torch.float32), exact)
        assert torch.equal(linears(values)[name].weight, exact)
        if name != "head":
            pair, other = linear.adapter, linears(full)[name].adapter
            assert pair is not None and other is not None
            assert torch.equal(pair.up, other.up)
    torch.testing.assert_close(logits(codes), logits(values), atol=1e-4, rtol=1e-4)
    off = (logits(codes) - logits(full)).norm() / logits(full).norm()
    assert 1e-4 < off < 0.3
    assert codes.weights == values.weights == kind and full.weights == "float32"


@pytest.mark.parametrize("kind", KINDS)
def test_rounded_weights_are_kept_beside_an_installed_model(
    cache: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    folder = write_model(cache / "models" / "one")
    expected = logits(load(folder, kind))
    (kept,) = folder.glob("*.quantised")
    before = kept.stat().st_mtime_ns
    calls: list[str] = []
    monkeypatch.setattr(QuantisedWeight, "of", lambda *args: calls.append("rounded"))
    assert torch.equal(logits(load(folder, kind)), expected)
    assert not calls and kept.stat().st_mtime_ns == before
    # What is kept is taken: with other codes in it, other numbers come out.
    weights = kept_file.read_kept(kept, torch.device("cpu"))
    assert weights is not None and len(weights) == 3 * 4 + 1
    weights["layers.0.down"].codes.zero_()
    assert kept_file.write_kept(kept, weights)
    assert not torch.allclose(logits(load(folder, kind)), expected)


def test_kinds_and_adapters_have_files_of_their_own(cache: Path) -> None:
    folder = write_model(cache / "models" / "one")
    adapter = write_adapter(cache / "adapter", folder)
    for kind in KINDS:
        load(folder, kind)
    assert len(list(folder.glob("*.quantised"))) == len(KINDS)
    (first,) = folder.glob("*.int4.quantised")
    load(folder, "int4", causal_adapter=adapter)
    (second,) = folder.glob("*.int4.quantised")
    assert first != second and not list(folder.glob("*.int8"))


def test_a_damaged_file_is_written_anew(cache: Path) -> None:
    folder = write_model(cache / "models" / "one")
    load(folder, "int4")
    (kept,) = folder.glob("*.quantised")
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-5])
    load(folder, "int4")
    assert kept.read_bytes() == whole


def test_a_users_own_folder_is_not_written(cache: Path, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "own")
    load(folder, "int8")
    assert not list(folder.glob("*.quantised"))


@pytest.mark.parametrize("kind", KINDS)
def test_weights_without_finite_numbers_are_refused(tmp_path: Path, kind: Kind) -> None:
    from safetensors.torch import load_file, save_file

    folder = write_model(tmp_path)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][3, 4] = float("nan")
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(WeightsError, match="finite"):
        load(folder, kind)


@pytest.mark.parametrize("weights", ["int4", "fp8"])
def test_a_cpu_gets_the_values_and_says_that_they_are_no_faster(
    tmp_path: Path, weights: Kind
) -> None:
    config = read_model_config(write_model(tmp_path) / "config.json")
    choice = choose_device("cpu", "auto", 1, weights)
    full = choose_device("cpu", "auto", 1, "full")
    assert choice.rounding == weights and full.rounding is None
    decided = choose_storage(choice, config, lambda phase, fraction: None)
    expected = choose_storage(full, config, lambda phase, fraction: None)
    assert (decided.kind, decided.packs_rest) == (expected.kind, expected.packs_rest)
    assert decided.rounding == weights
    assert "no faster, since a CPU has no kernels for them." in decided.note
    assert choose_device("cpu", "auto", 1, "int8").rounding is None


@pytest.mark.parametrize("reason", [None, "Triton is not installed."])
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_gets_codes_where_the_kernels_can_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind, reason: str | None
) -> None:
    config = read_model_config(write_model(tmp_path) / "config.json")
    monkeypatch.setattr(engine.kernels, "problem", lambda device: reason)
    choice = DeviceChoice(torch.device("cuda", 0), torch.bfloat16, 1, (), kind)
    decided = choose_storage(choice, config, lambda phase, fraction: None)
    assert decided.rounding == kind
    assert decided.kind == ("quantised" if reason is None else "plain")
    assert ("no faster, since Triton is not installed." in decided.note) is (reason is not None)
    assert ("head int8" in decided.note) is (kind == "int4")


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_computes_what_a_cpu_does(tmp_path: Path, kind: Kind) -> None:
    reason = engine.kernels.problem(torch.device("cuda", 0))
    if reason is not None:
        pytest.skip(reason)
    folder = write_model(tmp_path / "model")
    adapter = write_adapter(tmp_path / "adapter", folder)
    choice = choose_device("cuda", "float32", None, kind)
    found = model_load.load_model(folder, choice, draft_adapter=adapter).decoder
    assert all(each.quantised is not None for each in linears(found).values())
    expected = logits(load(folder, kind, draft_adapter=adapter))
    hidden = found.forward(IDS.cuda(), found.new_cache(), visible=None, draft_adapter=True)
    torch.testing.assert_close(found.logits(hidden).cpu(), expected, atol=1e-3, rtol=1e-3)
