"""Adapters that come with NemoDiff are used by default, can be replaced and can be left out."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import engine.adapters
import engine.engine
from engine.config import DEFAULT_MODEL, EngineConfig
from engine.engine import Engine
from engine.infill.gate import GateError
from engine.messages.completion import CompletionRequest
from engine.models.decoder import Decoder
from engine.weights.adapters import CONFIG_FILE, WEIGHTS_FILE, read_adapter
from engine.weights.catalog import CATALOG
from engine.weights.errors import WeightsError
from engine.weights.resolve import resolve_model
from tests.models import checkpoints


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is built in, for a random model that is known by the default model's name."""
    model = checkpoints.write_qwen(tmp_path / "model")
    built_in = tmp_path / "adapters"
    checkpoints.write_diffusion_adapter(built_in / DEFAULT_MODEL / "draft", rank=4)
    checkpoints.write_diffusion_adapter(built_in / DEFAULT_MODEL / "causal", rank=2, seed=8)
    monkeypatch.setattr(engine.adapters, "files", lambda name: built_in)

    def resolve(spec: str, **options: object) -> Path:
        return model if spec == DEFAULT_MODEL else resolve_model(spec, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(engine.engine, "resolve_model", resolve)
    return built_in / DEFAULT_MODEL


def load(**wishes: object) -> Engine:
    return Engine.load(
        EngineConfig(device="cpu", dtype="float32", num_threads=1, **wishes)  # type: ignore[arg-type]
    )


def test_built_in_adapters_are_the_default(package: Path) -> None:
    described = load().describe()
    assert described["draft_adapter"] == f"built-in:{DEFAULT_MODEL}/draft"
    assert described["causal_adapter"] == f"built-in:{DEFAULT_MODEL}/causal"
    assert any("rank 4" in note for note in described["notes"])
    assert any("rank 2" in note for note in described["notes"])


@pytest.mark.parametrize("kind", ["draft", "causal"])
def test_none_switches_one_off(package: Path, kind: str) -> None:
    described = load(**{f"{kind}_adapter": "none"}).describe()
    other = "causal" if kind == "draft" else "draft"
    assert described[f"{kind}_adapter"] is None
    assert described[f"{other}_adapter"] is not None
    assert any(f"No {kind} adapter" in note for note in described["notes"])


def test_a_named_folder_goes_first(package: Path, tmp_path: Path) -> None:
    own = checkpoints.write_diffusion_adapter(tmp_path / "own", rank=3)
    described = load(draft_adapter=own).describe()
    assert described["draft_adapter"] == str(own)
    assert described["causal_adapter"] == f"built-in:{DEFAULT_MODEL}/causal"


def test_another_base_never_gets_them(package: Path, tmp_path: Path) -> None:
    """The same files under another name are another model."""
    twin = shutil.copytree(tmp_path / "model", tmp_path / "twin")
    described = load(model=str(twin)).describe()
    assert described["draft_adapter"] is described["causal_adapter"] is None


def test_without_them_the_engine_works(package: Path) -> None:
    shutil.rmtree(package)
    found = load()
    assert found.describe()["draft_adapter"] is None
    assert found.complete(CompletionRequest(prompt="def ", max_tokens=4)).choices[0].text


def test_auto_drafts_with_masks_only_where_an_adapter_is(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_masks: list[bool] = []
    forward = Decoder.forward

    def noted(self: Decoder, ids: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        read_masks[:] = [any(read_masks) or self.config.mask_token_id in ids]
        return forward(self, ids, *args, **options)

    monkeypatch.setattr(Decoder, "forward", noted)
    request = CompletionRequest(
        prompt="def f(a):\n", suffix="\n\nf(1)\n", max_tokens=24, stop_rules=False
    )
    with_drafts, without = load(), load(draft_adapter="none")
    slow = without.complete(replace(request, mode="ar"))
    read_masks.clear()
    for has_masks, loaded in ((True, with_drafts), (False, without)):
        fast = loaded.complete(request)
        assert fast.facts.mode == "quad_spec"
        assert fast.choices[0].text == slow.choices[0].text
        assert fast.facts.forwards <= slow.facts.forwards
        assert fast.facts.num_cycles == fast.facts.forwards > 0
        assert read_masks.pop() is has_masks
    assert slow.facts.num_cycles == slow.facts.num_drafted_tokens == 0


def test_a_damaged_one_is_told(package: Path) -> None:
    (package / "draft" / WEIGHTS_FILE).unlink()
    with pytest.raises(WeightsError, match="holds no"):
        load()
    assert load(draft_adapter="none").draft_adapter is None


def test_the_gate_goes_with_the_causal_adapter(package: Path) -> None:
    assert load().describe()["gate"] == "withholds nothing"
    (package / "gate.json").write_text(json.dumps({"threshold": 0.5}))
    assert "0.5" in load().describe()["gate"]
    assert load(causal_adapter="none").describe()["gate"] == "withholds nothing"
    (package / "gate.json").write_text("{")
    with pytest.raises(GateError):
        load()


def test_only_names_of_the_catalog_have_folders() -> None:
    for name in ("", ".", "..", "/", "../weights", "__pycache__", "qwen2.5-coder-0.5b/"):
        assert engine.adapters.built_in_adapter(name, "draft") is None
        assert engine.adapters.built_in_gate(name) is None


@pytest.mark.parametrize("name", [entry.name for entry in CATALOG])
def test_what_is_built_in_is_whole(name: str) -> None:
    for kind in ("causal", "draft"):
        folder = engine.adapters.built_in_adapter(name, kind)  # type: ignore[arg-type]
        if folder is not None:
            assert (folder / CONFIG_FILE).is_file() and (folder / WEIGHTS_FILE).is_file()
            assert (folder.parent / "README.md").is_file()


def test_the_default_models_adapters_fit_it(default_model: Path) -> None:
    from engine.models.config import read_model_config

    config = read_model_config(default_model / "config.json")
    for kind in ("causal", "draft"):
        folder = engine.adapters.built_in_adapter(DEFAULT_MODEL, kind)  # type: ignore[arg-type]
        if folder is not None:
            assert read_adapter(folder, config).rank >= 1
