"""Where nothing stands right of the cursor, only a model that ends middles is asked for one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.config import EngineConfig
from engine.engine import Engine
from engine.infill.hole import Hole
from engine.infill.route import choose_route
from engine.messages.completion import CompletionRequest
from engine.models.config import read_model_config
from engine.weights.adapters import LoraAdapter, write_adapter
from tests.models import checkpoints


@pytest.mark.parametrize("suffix", ["", "\n", "  \n\n"])
@pytest.mark.parametrize(
    ("has_fim", "has_causal", "method"),
    [
        (True, True, "fim_tokens"),
        (True, False, "prefix_only"),
        (False, True, "prefix_only"),
        (False, False, "prefix_only"),
    ],
)
def test_a_blank_suffix(
    tmp_path: Path, suffix: str, has_fim: bool, has_causal: bool, method: str
) -> None:
    config = read_model_config(checkpoints.write_qwen(tmp_path) / "config.json")
    assert config.fim is not None
    config = config if has_fim else replace(config, fim=None)
    route = choose_route(
        "ar",
        Hole("def f():\n", suffix),
        config,
        has_draft_adapter=False,
        has_causal_adapter=has_causal,
    )
    assert (route.name, route.method, route.mode) == ("left_to_right", method, "ar")


def test_the_engine_asks_a_causal_adapter_for_a_middle_at_the_end_of_a_file(tmp_path: Path) -> None:
    folder = checkpoints.write_qwen(tmp_path / "model")
    config = read_model_config(folder / "config.json")
    pair = (torch.zeros(1, config.hidden_size), torch.zeros(config.hidden_size, 1))
    # A causal adapter that changes nothing: only the form of the prompt may differ.
    write_adapter(tmp_path / "causal", LoraAdapter(1, 1.0, {"layers.0.self_attn.o_proj": pair}))
    prompts = {}
    for adapter in (None, tmp_path / "causal"):
        engine = Engine.load(
            EngineConfig(
                model=str(folder),
                device="cpu",
                dtype="float32",
                num_threads=1,
                causal_adapter=adapter,
            )
        )
        for prompt in ("", "def f(a):\n    ret"):
            found = engine.complete(
                CompletionRequest(prompt=prompt, mode="ar", max_tokens=4, document="d")
            )
            assert found.facts.route == "left_to_right"
            assert found.choices[0].finish_reason in ("length", "stop")
        prompts[adapter] = engine.prefix_cache.take("d", []).tokens
    assert config.fim is not None
    special = {config.fim.prefix, config.fim.suffix, config.fim.middle}
    assert not special & set(prompts[None])
    assert special <= set(prompts[tmp_path / "causal"])
