"""config.json: what is refused, each with one sentence naming the field; what is understood."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.models.config import ConfigError, model_config_from_dict, read_model_config
from tests.models.checkpoints import QWEN_CONFIG, TINY

NEMOTRON: dict[str, Any] = json.loads((TINY / "config.json").read_text())


def changed(raw: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """`raw` with top-level changes; rope_* keys go into rope_parameters, None removes a key."""
    new = {**raw, "rope_parameters": dict(raw.get("rope_parameters", {}))}
    for key, value in changes.items():
        place = new["rope_parameters"] if key.startswith("rope_") or key == "factor" else new
        if value is None:
            place.pop(key, None)
        else:
            place[key] = value
    return new


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_type": "llama"}, "model_type"),
        ({"hidden_size": None}, "hidden_size"),
        ({"hidden_size": "96"}, "hidden_size"),
        ({"hidden_size": 1e400}, "hidden_size"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"num_hidden_layers": 2.5}, "num_hidden_layers"),
        ({"num_key_value_heads": 3}, "num_key_value_heads"),
        ({"head_dim": 31}, "head_dim"),
        ({"rms_norm_eps": 0}, "rms_norm_eps"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps"),
        ({"rope_theta": None}, "rope_theta"),
        ({"rope_theta": 0}, "rope_theta"),
        ({"rope_theta": 1}, "rope_theta"),
        ({"rope_type": "linear"}, "rope_type"),
        ({"factor": 0}, "factor"),
        ({"mask_token_id": -1}, "mask_token_id"),
        ({"mask_token_id": 100.5}, "mask_token_id"),
        ({"mask_token_id": 10_000}, "mask_token_id"),
        ({"mask_token_id": 11}, "mask and end"),
        ({"eos_token_id": "x"}, "eos_token_id"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"attention_bias": True}, "attention_bias"),
        ({"sliding_window": 16}, "sliding_window"),
        ({"tie_word_embeddings": True}, "tie_word_embeddings"),
        ({"quantization_config": {"quant_method": "fp8"}}, "quantization_config"),
        ({"model_type": "nemotron_labs_diffusion_vlm", "text_config": [1]}, "text_config"),
    ],
)
def test_refused_nemotron_configs(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        model_config_from_dict(changed(NEMOTRON, **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("{", "valid JSON"),
        ("[]", "JSON object"),
        ("\xff", "valid JSON"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_unreadable_configs(tmp_path: Path, content: str, named: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=named):
        read_model_config(path)
    with pytest.raises(ConfigError, match="does not exist"):
        read_model_config(tmp_path / "no.json")


def test_instruct_and_base_keep_their_own_rotary_factor() -> None:
    instruct = model_config_from_dict(changed(NEMOTRON, factor=16.0))
    base = model_config_from_dict(changed(NEMOTRON, factor=0.25, eos_token_id=2))
    assert instruct.yarn and base.yarn
    assert (instruct.yarn.factor, base.yarn.factor) == (16.0, 0.25)
    assert set(base.eos_token_ids) == set(instruct.eos_token_ids) == {2, 11}


def test_qwen2_conventions() -> None:
    config = model_config_from_dict(QWEN_CONFIG)
    assert (config.alignment, config.adapter_scope) == ("next_position", "masks")
    assert config.tied_head and config.qkv_bias and config.fim is not None
    with pytest.raises(ConfigError, match="use_sliding_window"):
        model_config_from_dict({**QWEN_CONFIG, "use_sliding_window": True})
    with pytest.raises(ConfigError, match="alignment"):
        model_config_from_dict({**QWEN_CONFIG, "nemodiff": {"alignment": "left"}})
