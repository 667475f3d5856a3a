"""A qwen2 GGUF becomes the store's form: values, tying, config, tokenizer; broken files refused."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from engine.weights.checkpoint import open_checkpoint
from engine.weights.errors import WeightsError
from engine.weights.gguf_import import import_gguf

from .builders import HIDDEN, MERGES, SPECIALS, gguf_tensors, gguf_tokens, write_gguf

FIRST_SPECIAL = 256 + len(MERGES)


def imported(folder: Path, gguf_path: Path) -> Path:
    destination = folder / "model"
    destination.mkdir()
    import_gguf(gguf_path, destination, source={"sha256": "abc"})
    return destination


def as_bf16(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values).to(torch.bfloat16)


def test_every_tensor_is_dequantised_to_bf16(tmp_path: Path) -> None:
    expected = write_gguf(tmp_path / "tiny.gguf")
    checkpoint = open_checkpoint(imported(tmp_path, tmp_path / "tiny.gguf"))
    found = dict(checkpoint.tensors())
    assert len(found) == len(expected)
    for ours, theirs in {
        "embed_tokens.weight": "token_embd.weight",
        "norm.weight": "output_norm.weight",
        "layers.0.input_layernorm.weight": "blk.0.attn_norm.weight",
        "layers.1.post_attention_layernorm.weight": "blk.1.ffn_norm.weight",
        "layers.0.self_attn.q_proj.weight": "blk.0.attn_q.weight",
        "layers.0.self_attn.k_proj.bias": "blk.0.attn_k.bias",
        "layers.1.self_attn.v_proj.weight": "blk.1.attn_v.weight",
        "layers.1.self_attn.o_proj.weight": "blk.1.attn_output.weight",
        "layers.0.mlp.gate_proj.weight": "blk.0.ffn_gate.weight",
        "layers.0.mlp.up_proj.weight": "blk.0.ffn_up.weight",
        "layers.1.mlp.down_proj.weight": "blk.1.ffn_down.weight",
    }.items():
        assert found[ours].dtype == torch.bfloat16
        assert torch.equal(found[ours], as_bf16(expected[theirs])), ours


def test_slices_give_the_same_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    whole = imported(tmp_path, tmp_path / "tiny.gguf") / "model.safetensors"
    monkeypatch.setattr("engine.weights.gguf_import._SLICE_VALUES", 3 * HIDDEN)
    (tmp_path / "again").mkdir()
    sliced = imported(tmp_path / "again", tmp_path / "tiny.gguf") / "model.safetensors"
    assert whole.read_bytes() == sliced.read_bytes()


def test_the_more_precise_copy_serves_as_the_tied_embedding(tmp_path: Path) -> None:
    expected = write_gguf(tmp_path / "tiny.gguf", head_copy=True)
    checkpoint = open_checkpoint(imported(tmp_path, tmp_path / "tiny.gguf"))
    found = dict(checkpoint.tensors())
    assert checkpoint.config.tied_head and "lm_head.weight" not in found
    assert torch.equal(found["embed_tokens.weight"], as_bf16(expected["output.weight"]))


def test_a_head_of_its_own_is_kept(tmp_path: Path) -> None:
    tensors = gguf_tensors()
    tensors["output.weight"] = tensors["token_embd.weight"][::-1].copy()
    expected = write_gguf(tmp_path / "tiny.gguf", tensors=tensors)
    checkpoint = open_checkpoint(imported(tmp_path, tmp_path / "tiny.gguf"))
    found = dict(checkpoint.tensors())
    assert not checkpoint.config.tied_head
    assert torch.equal(found["lm_head.weight"], as_bf16(expected["output.weight"]))
    assert torch.equal(found["embed_tokens.weight"], as_bf16(expected["token_embd.weight"]))


def test_the_config_says_what_the_decoder_reads(tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    config = open_checkpoint(imported(tmp_path, tmp_path / "tiny.gguf")).config
    assert config.family == "qwen2" and config.qkv_bias
    assert (config.hidden_size, config.intermediate_size, config.num_layers) == (64, 96, 2)
    assert (config.num_heads, config.num_kv_heads, config.head_dim) == (4, 2, 16)
    assert (config.norm_eps, config.rope_theta, config.max_positions) == (1e-6, 1e6, 128)
    assert (config.alignment, config.adapter_scope, config.block_size) == (
        "next_position",
        "masks",
        8,
    )
    specials = range(FIRST_SPECIAL, FIRST_SPECIAL + len(SPECIALS))
    assert config.eos_token_ids == tuple(specials)
    assert config.mask_token_id == specials.stop  # the first unused row
    assert config.fim is not None
    assert config.fim.prefix == FIRST_SPECIAL + SPECIALS.index("<|fim_prefix|>")
    assert config.fim.suffix == FIRST_SPECIAL + SPECIALS.index("<|fim_suffix|>")
    assert config.fim.middle == FIRST_SPECIAL + SPECIALS.index("<|fim_middle|>")


def test_import_json_records_source_and_hashes(tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    folder = imported(tmp_path, tmp_path / "tiny.gguf")
    note = json.loads((folder / "import.json").read_text())
    assert note["source"] == {"sha256": "abc"}
    for name, facts in note["files"].items():
        data = (folder / name).read_bytes()
        assert facts == {"sha256": hashlib.sha256(data).hexdigest(), "num_bytes": len(data)}
    assert set(note["files"]) == {"config.json", "model.safetensors", "tokenizer.json"}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_gguf(folder / "tiny.gguf")
    return Tokenizer.from_file(str(imported(folder, folder / "tiny.gguf") / "tokenizer.json"))


def test_tokens_merge_and_split_as_qwen_does(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("x def").tokens == ["x", "Ġdef"]
    # Digits stay apart although the vocabulary holds a merge for them.
    assert tokenizer.encode("12").tokens == ["1", "2"]
    assert tokenizer.encode("re\r\nre").tokens == ["re", "č", "Ċ", "re"]
    text = "<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>"
    ids = tokenizer.encode(text).ids
    tokens, _ = gguf_tokens()
    assert ids[0] == tokens.index("<|fim_prefix|>") and len(ids) == 5
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_only_the_publishers_special_tokens_are_marked_special(tokenizer: Tokenizer) -> None:
    flags = {t.content: t.special for t in tokenizer.get_added_tokens_decoder().values()}
    assert list(flags) == SPECIALS
    assert {name for name, special in flags.items() if special} == {
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
    }
    ids = tokenizer.encode("a<|im_end|><|fim_middle|>").ids
    assert tokenizer.decode(ids) == "a<|fim_middle|>"
    assert tokenizer.decode(ids, skip_special_tokens=False) == "a<|im_end|><|fim_middle|>"


@given(st.text())
@example("e\u0301")
@example("\u200d日本\t\r\n  def 1234")
def test_any_text_comes_back_in_normal_form_c(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == unicodedata.normalize("NFC", text)


def _with(**changes: np.ndarray | None) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        tensors = gguf_tensors()
        for name, values in changes.items():
            if values is None:
                tensors.pop(name)
            else:
                tensors[name] = values
        write_gguf(path, tensors=tensors)

    return write


def _bytes(edit: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        write_gguf(path)
        path.write_bytes(edit(path.read_bytes()))

    return write


BAD_GGUF: dict[str, tuple[Callable[[Path], object], str]] = {
    "architecture": (
        lambda p: write_gguf(p, architecture="llama"),
        "a model of architecture 'llama'; only 'qwen2' can be read",
    ),
    "tokenizer": (
        lambda p: write_gguf(p, tokenizer="deepseek-r1-qwen"),
        "gpt2/deepseek-r1-qwen tokenizer",
    ),
    "rope scaling": (lambda p: write_gguf(p, scaling="yarn"), "uses RoPE scaling"),
    "no gguf": (lambda p: p.write_bytes(b"PK\x03\x04 not this"), "is not a GGUF file"),
    "empty": (lambda p: p.write_bytes(b""), "is not a GGUF file"),
    "version": (_bytes(lambda b: b[:4] + b"\x09\0\0\0" + b[8:]), "has GGUF version 9"),
    "header cut": (_bytes(lambda b: b[:900]), "is truncated: its header ends early"),
    "data cut": (_bytes(lambda b: b[:-40]), "is truncated: tensor .* lies beyond its end"),
    "missing tensor": (
        _with(**{"blk.1.ffn_up.weight": None}),
        "a tensor for layers.1.mlp.up_proj.weight is missing",
    ),
    "missing embedding": (_with(**{"token_embd.weight": None}), "token_embd.weight is missing"),
    "unknown tensor": (
        _with(**{"rope_freqs.weight": np.zeros(8, np.float32)}),
        "tensor rope_freqs.weight is not known",
    ),
    "surplus layer": (
        _with(**{"blk.2.attn_norm.weight": np.zeros(64, np.float32)}),
        "tensor blk.2.attn_norm.weight is surplus",
    ),
    "wrong shape": (
        _with(**{"blk.0.ffn_up.weight": np.zeros((96, 32), np.float32)}),
        r"blk.0.ffn_up.weight has shape \[96, 32\], but the metadata asks for \[96, 64\]",
    ),
    "small vocabulary": (
        _with(**{"token_embd.weight": np.zeros((100, 64), np.float32)}),
        "token list does not fit",
    ),
}


@pytest.mark.parametrize(("write", "message"), BAD_GGUF.values(), ids=BAD_GGUF)
def test_a_broken_gguf_is_refused_in_one_sentence(
    tmp_path: Path, write: Callable[[Path], object], message: str
) -> None:
    write(tmp_path / "bad.gguf")
    with pytest.raises(WeightsError, match=message) as caught:
        imported(tmp_path, tmp_path / "bad.gguf")
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_an_unknown_quantisation_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> np.ndarray:
        raise NotImplementedError

    write_gguf(tmp_path / "tiny.gguf")
    monkeypatch.setattr(gguf.quants, "dequantize", unknown)
    with pytest.raises(WeightsError, match=r"token_embd\.weight is quantised as Q5_0"):
        imported(tmp_path, tmp_path / "tiny.gguf")
