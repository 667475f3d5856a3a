"""Opens a checkpoint folder: checks everything from headers, then hands out tensors by name.

`engine.models` loads from here. Canonical names are Llama's without a prefix; the released
Nemotron files say ``encoder.`` and ``diffusion_head``, Qwen2 files say ``model.``, and the store
of `engine.weights.store` holds canonical names already.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open

from engine.models.config import ConfigError, ModelConfig, read_model_config
from engine.weights.errors import WeightsError
from engine.weights.safetensors_file import TensorInfo, check_dtype, read_header

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""Files that can run code when loaded; they are never opened."""

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
HEAD = "lm_head.weight"

# `language_model.` comes from multimodal and repacked files, outside or inside `model.`.
_PREFIXES = re.compile(r"^(?:language_model\.|model\.|encoder\.)*")
_VISION = ("vision_tower.", "multi_modal_projector.")
_LAYER = re.compile(r"^layers\.(\d+)\.")


def expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Canonical tensor names of `config` and their shapes; weights are (out, in) as in F.linear."""
    hidden, inner = config.hidden_size, config.intermediate_size
    query = config.num_heads * config.head_dim
    key = config.num_kv_heads * config.head_dim
    shapes: dict[str, tuple[int, ...]] = {"embed_tokens.weight": (config.vocab_size, hidden)}
    for layer in range(config.num_layers):
        prefix = f"layers.{layer}."
        shapes[prefix + "input_layernorm.weight"] = (hidden,)
        for name, rows in (("q", query), ("k", key), ("v", key)):
            shapes[f"{prefix}self_attn.{name}_proj.weight"] = (rows, hidden)
            if config.qkv_bias:
                shapes[f"{prefix}self_attn.{name}_proj.bias"] = (rows,)
        shapes[prefix + "self_attn.o_proj.weight"] = (hidden, query)
        shapes[prefix + "post_attention_layernorm.weight"] = (hidden,)
        shapes[prefix + "mlp.gate_proj.weight"] = (inner, hidden)
        shapes[prefix + "mlp.up_proj.weight"] = (inner, hidden)
        shapes[prefix + "mlp.down_proj.weight"] = (hidden, inner)
    shapes["norm.weight"] = (hidden,)
    if not config.tied_head:
        shapes[HEAD] = (config.vocab_size, hidden)
    return shapes


@dataclass(frozen=True, slots=True)
class _Stored:
    """Where one tensor lies."""

    path: Path
    name: str
    info: TensorInfo


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checked checkpoint. `notes` says what the user should know, one sentence each."""

    folder: Path
    config: ModelConfig
    notes: tuple[str, ...]
    _stored: dict[str, _Stored]
    _head_copy: _Stored | None

    @property
    def num_bytes(self) -> int:
        """Bytes of all the tensors that `tensors` yields."""
        return sum(stored.info.end - stored.info.begin for stored in self._stored.values())

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """(canonical name, tensor) of each tensor, mapped from disk in the dtype of the file.

        Raises WeightsError when a tied checkpoint carries a head that differs from its embedding.
        """
        files = {stored.path: stored.path for stored in self._stored.values()}
        for path in files:
            with safe_open(path, framework="pt") as file:
                for name, stored in self._stored.items():
                    if stored.path == path:
                        tensor = file.get_tensor(stored.name)
                        if name == "embed_tokens.weight":
                            self._check_head_copy(tensor)
                        yield name, tensor

    def _check_head_copy(self, embedding: torch.Tensor) -> None:
        copy = self._head_copy
        if copy is None:
            return
        with safe_open(copy.path, framework="pt") as file:
            if not torch.equal(file.get_tensor(copy.name), embedding):
                raise WeightsError(
                    f"{copy.path}: config.json ties the head to the embedding, "
                    f"but tensor {copy.name} differs from it."
                )


def open_checkpoint(folder: Path) -> Checkpoint:
    """Check the checkpoint in `folder` against its config.json without reading any tensor.

    Raises WeightsError naming the file and the tensor at fault.
    """
    if not folder.is_dir():
        raise WeightsError(f"{folder} is not a folder; a checkpoint is a folder with config.json.")
    for name in ("config.json", INDEX_FILE):
        refuse_special(folder / name)
    try:
        config = read_model_config(folder / "config.json")
    except ConfigError as error:
        raise WeightsError(_located(folder, str(error))) from None
    except OSError as error:
        raise WeightsError(f"{folder / 'config.json'} cannot be read: {error.strerror}.") from None
    found, num_vision = _collect(_weight_files(folder))
    # First, because the expected tensors of a billion layers would fill the memory.
    _check_num_layers(folder, config.num_layers, found)
    expected = expected_shapes(config)
    head_copy = found.pop(HEAD, None) if config.tied_head else None
    if head_copy is not None:
        _check_shape(HEAD, head_copy, expected["embed_tokens.weight"])
    _check_against(folder, expected, found)
    notes = config.notes
    if num_vision:
        notes += (f"{num_vision} tensors of the vision tower and its projector are not loaded.",)
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLE_SUFFIXES)
    if pickles:
        notes += (f"Pickle files are ignored: {', '.join(pickles)}.",)
    ordered = {name: found[name] for name in expected}
    return Checkpoint(folder, config, notes, ordered, head_copy)


def _located(folder: Path, message: str) -> str:
    return message if str(folder) in message else f"{folder}: {message}"


def _weight_files(folder: Path) -> list[Path]:
    """The safetensors files of the model itself; adapters lie in subfolders and do not count."""
    if (folder / INDEX_FILE).exists():
        return _shards(folder)
    if (folder / SINGLE_FILE).exists():
        return [folder / SINGLE_FILE]
    files = sorted(path for path in folder.glob("*.safetensors") if path.is_file())
    if len(files) == 1 and files[0].name != "adapter_model.safetensors":
        return files
    if len(files) > 1:
        raise WeightsError(f"{folder} holds {len(files)} safetensors files but no {INDEX_FILE}.")
    if files:
        raise WeightsError(f"{folder} holds a LoRA adapter ({files[0].name}), not a model.")
    for path in sorted(folder.iterdir()):
        if path.suffix in PICKLE_SUFFIXES:
            raise WeightsError(refuse_pickle(path))
    raise WeightsError(f"{folder} holds no weights: {SINGLE_FILE} is missing.")


def refuse_pickle(path: Path) -> str:
    """The sentence that refuses a pickle file."""
    return (
        f"{path} is a pickle file, which can run code when loaded; "
        "use a checkpoint in safetensors or GGUF form."
    )


def _shards(folder: Path) -> list[Path]:
    index = folder / INDEX_FILE
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        if not all(isinstance(part, str) for item in weight_map.items() for part in item):
            raise TypeError
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise WeightsError(f"{index} is not valid JSON ({error}).") from None
    except (KeyError, TypeError, AttributeError):
        raise WeightsError(f"{index} holds no weight_map from tensors to files.") from None
    shards: list[Path] = []
    for name in sorted(set(weight_map.values())):
        shard = folder / name
        if shard.suffix in PICKLE_SUFFIXES:
            raise WeightsError(refuse_pickle(shard))
        if Path(name).name != name:
            raise WeightsError(f"{index} names {name!r}, which is not a file of this folder.")
        if not shard.is_file():
            raise WeightsError(f"{index} names {name}, but this file is missing.")
        shards.append(shard)
    listed = {(file, tensor) for tensor, file in weight_map.items()}
    stored = {(shard.name, tensor) for shard in shards for tensor in read_header(shard)}
    for file, tensor in sorted(listed ^ stored):
        problem = "misses" if (file, tensor) in listed else "holds"
        state = "lists it there" if problem == "misses" else "does not list it there"
        raise WeightsError(f"{folder / file} {problem} tensor {tensor}, but {INDEX_FILE} {state}.")
    return shards


def _collect(files: list[Path]) -> tuple[dict[str, _Stored], int]:
    """Tensors by canonical name, and how many belong to a vision tower."""
    found: dict[str, _Stored] = {}
    num_vision = 0
    for path in files:
        for name, info in read_header(path).items():
            canonical = _PREFIXES.sub("", name)
            if canonical.startswith(_VISION):
                num_vision += 1
                continue
            if canonical == "diffusion_head.weight":
                canonical = HEAD
            if canonical in found:
                raise WeightsError(f"{path}: tensor {name} is a second {found[canonical].name}.")
            check_dtype(path, name, info)
            found[canonical] = _Stored(path, name, info)
    return found, num_vision


def refuse_special(path: Path) -> None:
    """Raises WeightsError for a pipe, device or socket at `path`, which reading might wait on."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise WeightsError(f"{path} is not a regular file; put the file itself there.")


def _check_num_layers(folder: Path, num_layers: int, found: dict[str, _Stored]) -> None:
    num_found = len({m[1] for name in found if (m := _LAYER.match(name))})
    if num_found != num_layers:
        raise WeightsError(
            f"{folder}: config.json says num_hidden_layers is {num_layers}, "
            f"but the weights hold {num_found} layers."
        )


def _check_against(
    folder: Path, expected: dict[str, tuple[int, ...]], found: dict[str, _Stored]
) -> None:
    for name, shape in expected.items():
        if name not in found:
            raise WeightsError(f"{folder}: tensor {name} is missing from the weights.")
        _check_shape(name, found[name], shape)
    for name, stored in found.items():
        if name not in expected:
            raise WeightsError(
                f"{stored.path}: tensor {stored.name} is surplus: config.json has no place for it."
            )


def _check_shape(name: str, stored: _Stored, shape: tuple[int, ...]) -> None:
    if stored.info.shape != shape:
        raise WeightsError(
            f"{stored.path}: tensor {stored.name} has shape {list(stored.info.shape)}, "
            f"but config.json asks for {list(shape)}."
        )
