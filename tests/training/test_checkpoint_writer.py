"""Checkpoints as written are what `open_checkpoint` and the engine read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from engine.models.config import ModelConfig, model_config_from_dict, read_model_config
from engine.weights.checkpoint import open_checkpoint
from engine.weights.checkpoint_writer import config_json, write_checkpoint
from engine.weights.errors import WeightsError
from tests.models import checkpoints
from tests.tiny_model import CHECKPOINT
from tests.training.networks import filled_cache, load_decoder, some_tokens

TINY = read_model_config(CHECKPOINT / "config.json")
QWEN = model_config_from_dict(checkpoints.QWEN_CONFIG)
# The default model's sizes and ids; its vocabulary decides about defaults.
LARGE = model_config_from_dict(
    {**checkpoints.QWEN_CONFIG, "vocab_size": 151936, "head_dim": 64, "nemodiff": {}}
)


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        replace(TINY, yarn=None, query_scale_beta=0.0),
        replace(TINY, block_size=7, bos_token_id=None, eos_token_ids=(2, 11, 5)),
        QWEN,
        replace(QWEN, alignment="same_position", adapter_scope="block", tied_head=False),
        replace(QWEN, fim=None, bos_token_id=3),
        LARGE,
        replace(LARGE, fim=None, eos_token_ids=(7,)),
    ],
)
def test_config_round_trip(config: ModelConfig) -> None:
    raw = json.loads(json.dumps(config_json(config)))
    again = model_config_from_dict(raw)
    # Nemotron's reader puts its own end tokens in, so their order is not kept.
    assert set(again.eos_token_ids) == set(config.eos_token_ids)
    assert replace(again, eos_token_ids=()) == replace(config, eos_token_ids=())


def test_the_tiny_config_has_all_keys_of_the_published_form() -> None:
    published = json.loads((CHECKPOINT / "config.json").read_text())
    mine = config_json(TINY)
    for key in ("architectures", "model_type", "rope_parameters", "dlm_paradigm", "mask_token_id"):
        assert mine[key] == published[key]
    assert mine.keys() <= published.keys()


@pytest.mark.parametrize("family", ["nemotron", "qwen2"])
def test_a_checkpoint_written_again_is_the_same(
    family: str, tmp_path: Path, qwen_folder: Path
) -> None:
    source = CHECKPOINT if family == "nemotron" else qwen_folder
    checkpoint = open_checkpoint(source)
    tensors = dict(checkpoint.tensors())
    write_checkpoint(
        tmp_path, checkpoint.config, tensors, tokenizer_folder=source, dtype=torch.float32
    )
    again = open_checkpoint(tmp_path)
    found = dict(again.tensors())
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name].float()) for name in tensors)
    published = load_file(source / "model.safetensors").keys()
    assert load_file(tmp_path / "model.safetensors").keys() == published
    assert (tmp_path / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()
    assert not list(tmp_path.glob("*.tmp"))
    tokens = some_tokens(20)
    one, other = (
        filled_cache(load_decoder(folder, draft_adapter="none"), tokens)[1]
        for folder in (source, tmp_path)
    )
    assert torch.equal(one, other)


@pytest.mark.parametrize("family", ["nemotron", "qwen2"])
def test_mask_embedding_is_where_the_engine_looks(
    family: str, tmp_path: Path, qwen_folder: Path
) -> None:
    source = CHECKPOINT if family == "nemotron" else qwen_folder
    checkpoint = open_checkpoint(source)
    row = torch.linspace(-1, 1, checkpoint.config.hidden_size)
    tensors = dict(checkpoint.tensors())
    before = tensors["embed_tokens.weight"].clone()
    write_checkpoint(
        tmp_path,
        checkpoint.config,
        tensors,
        tokenizer_folder=source,
        mask_embedding=row,
        dtype=torch.float32,
    )
    assert torch.equal(load_decoder(tmp_path).mask_embedding, row)
    assert torch.equal(tensors["embed_tokens.weight"], before), "the caller's tensor is left alone"


def test_weights_are_stored_as_bf16_by_default(tmp_path: Path) -> None:
    tensors = {name: tensor.float() for name, tensor in open_checkpoint(CHECKPOINT).tensors()}
    write_checkpoint(tmp_path, TINY, tensors, tokenizer_folder=CHECKPOINT)
    stored = load_file(tmp_path / "model.safetensors")
    assert all(tensor.dtype == torch.bfloat16 for tensor in stored.values())
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm.weight": None}, "tensor norm.weight is missing"),
        ({"extra.weight": torch.zeros(1)}, "tensor extra.weight is surplus"),
        ({"norm.weight": torch.zeros(3)}, r"norm.weight has shape \[3\], .* asks for \[96\]"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    tensors: dict[str, Any] = dict(open_checkpoint(CHECKPOINT).tensors()) | change
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    with pytest.raises(WeightsError, match=message):
        write_checkpoint(tmp_path / "new", TINY, kept, tokenizer_folder=CHECKPOINT)
    assert not (tmp_path / "new").exists()
