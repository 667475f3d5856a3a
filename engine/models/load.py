"""Builds a Decoder from a checkpoint folder: fuse, merge the causal adapter, pack, attach drafts.

Called once by `engine.engine.Engine.load`; the checks of files and shapes are engine.weights' work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from engine.adapters import AdapterKind, built_in_adapter
from engine.config import NO_ADAPTER
from engine.device import DeviceChoice
from engine.models.config import ModelConfig
from engine.models.decoder import Decoder, Layer
from engine.models.linear import Linear, LowRank
from engine.models.rotary import RotaryTable
from engine.models.storage import HEAD, PLAIN_NOTE, Packer, Storage, choose_storage
from engine.weights.adapters import LoraAdapter, read_adapter
from engine.weights.checkpoint import open_checkpoint
from engine.weights.errors import WeightsError

Report = Callable[[str, float | None], None]

# Adapter folders that may lie inside a checkpoint folder, the first found is used.
_FOLDERS: dict[AdapterKind, tuple[str, ...]] = {
    "draft": ("diffusion_adapter", "linear_spec_lora"),
    "causal": ("causal_adapter",),
}


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """decoder plus what the user should know about how it was loaded.

    draft_adapter, causal_adapter: the folders they came from, ``built-in:<model>/<kind>`` for
    those that come with NemoDiff, None where there is none.
    """

    decoder: Decoder
    notes: tuple[str, ...]
    draft_adapter: str | None
    causal_adapter: str | None


def load_model(
    folder: Path,
    choice: DeviceChoice,
    *,
    draft_adapter: Path | Literal["none"] | None = None,
    causal_adapter: Path | Literal["none"] | None = None,
    model_name: str | None = None,
    pack: bool = True,
    storage: Storage | None = None,
    report: Report = lambda phase, fraction: None,
) -> LoadedModel:
    """Read, check and prepare a checkpoint. Raises ConfigError or WeightsError.

    draft_adapter, causal_adapter: as in EngineConfig. model_name: of the catalog, for the adapters
    that come with NemoDiff (None = none of these). pack: may the linear layers be packed for the
    CPU; training needs the plain weights. storage: of the linear layers, where another one than
    that of `choice` is to be measured.
    """
    checkpoint = open_checkpoint(folder)
    config = checkpoint.config
    draft_found = _find_adapter(folder, draft_adapter, "draft", model_name)
    causal_found = _find_adapter(folder, causal_adapter, "causal", model_name)
    draft = read_adapter(draft_found.folder, config) if draft_found else None
    causal = read_adapter(causal_found.folder, config) if causal_found else None
    notes = list(checkpoint.notes)
    if not pack:
        storage = Storage("plain", PLAIN_NOTE, rounding=choice.rounding)
    elif storage is None:
        storage = choose_storage(choice, config, report)
    notes.append(storage.note)
    packer = Packer(storage, choice, folder, causal_found.folder if causal_found else None)
    builder = _Builder(config, choice, packer, causal)
    with torch.inference_mode():
        decoder = builder.build(checkpoint.tensors(), report)
        if draft is not None:
            _attach_draft(decoder, draft)
            notes.append(f"Draft adapter of rank {draft.rank} is loaded.")
        else:
            notes.append(
                "No draft adapter: masks draft no more than the base model's own next token."
            )
        _check_finite(decoder, folder)
    packer.keep()
    if causal is not None:
        notes.append(f"Causal adapter of rank {causal.rank} is merged into the base.")
    elif config.fim is not None:
        notes.append("No causal adapter: fill-in-the-middle is what the base model makes of it.")
    return LoadedModel(
        decoder,
        tuple(notes),
        draft_found.label if draft_found else None,
        causal_found.label if causal_found else None,
    )


def _check_finite(decoder: Decoder, folder: Path) -> None:
    """One causal pass, adapter on, over a few tokens. Raises WeightsError when numbers overflow."""
    ids = torch.tensor([[1, decoder.config.mask_token_id, 0]], device=decoder.device)
    hidden = decoder.forward(ids, decoder.new_cache(), visible=None, draft_adapter=True)
    if not bool(torch.isfinite(decoder.logits(hidden)).all()):
        raise WeightsError(
            f"The weights in {folder} do not give finite numbers; get them again from their source."
        )


class _FoundAdapter(NamedTuple):
    folder: Path
    label: str


def _find_adapter(
    folder: Path,
    asked: Path | Literal["none"] | None,
    kind: AdapterKind,
    model_name: str | None,
) -> _FoundAdapter | None:
    """What was asked for; else what lies in the checkpoint `folder`; else what is built in."""
    if asked == NO_ADAPTER:
        return None
    if asked is not None:
        return _FoundAdapter(asked, str(asked))
    inside = next((folder / name for name in _FOLDERS[kind] if (folder / name).is_dir()), None)
    if inside is not None:
        return _FoundAdapter(inside, str(inside))
    built_in = built_in_adapter(model_name, kind) if model_name is not None else None
    return _FoundAdapter(built_in, f"built-in:{model_name}/{kind}") if built_in else None


class _Builder:
    """Collects tensors layer by layer, so that no more than one layer is held twice."""

    def __init__(
        self, config: ModelConfig, choice: DeviceChoice, packer: Packer, causal: LoraAdapter | None
    ) -> None:
        self._config, self._choice, self._packer, self._causal = config, choice, packer, causal
        self._top: dict[str, torch.Tensor] = {}
        self._parts: dict[int, dict[str, torch.Tensor]] = {}
        self._layers: dict[int, Layer] = {}

    def build(self, tensors: Iterator[tuple[str, torch.Tensor]], report: Report) -> Decoder:
        c = self._config
        parts_per_layer = 12 if c.qkv_bias else 9
        for name, tensor in tensors:
            if not name.startswith("layers."):
                self._top[name] = self._placed(name, tensor)
                continue
            _, number, part = name.split(".", 2)
            parts = self._parts.setdefault(int(number), {})
            parts[part] = self._placed(name, tensor)
            if len(parts) == parts_per_layer:
                self._layers[int(number)] = self._layer(number, self._parts.pop(int(number)))
                report("loading weights", len(self._layers) / c.num_layers)
        embedding = self._top["embed_tokens.weight"]
        head_weight = embedding if c.tied_head else self._top["lm_head.weight"]
        layers, norm = [self._layers[i] for i in range(c.num_layers)], self._top["norm.weight"]
        return Decoder(
            config=c,
            embedding=embedding,
            layers=layers,
            norm=norm,
            head=self._packer.linear(HEAD, [head_weight], None),
            mask_embedding=self._mask_row(embedding),
            rotary=RotaryTable(c, self._choice.device, self._choice.dtype),
            device=self._choice.device,
            dtype=self._choice.dtype,
            native=self._packer.native(c, layers, norm, self._choice.dtype),
        )

    def _placed(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        module, _, kind = name.rpartition(".")
        is_product = kind == "weight" and (
            (name.startswith("layers.") and module.endswith("_proj")) or module == "lm_head"
        )
        if is_product and self._packer.is_complete:
            return tensor
        if self._causal is not None and kind == "weight" and module in self._causal.pairs:
            down, up = self._causal.pairs[module]
            delta = up.float() @ down.float() * self._causal.scale
            tensor = tensor.float() + delta
        if is_product and self._packer.quantises:
            return tensor
        return tensor.to(self._choice.device, self._choice.dtype)

    def _layer(self, number: str, parts: dict[str, torch.Tensor]) -> Layer:
        def fused(*names: str, to: str) -> Linear:
            weights = [parts[f"{name}.weight"] for name in names]
            biases = [parts[f"{name}.bias"] for name in names if f"{name}.bias" in parts]
            bias = torch.cat(biases) if biases else None
            return self._packer.linear(f"layers.{number}.{to}", weights, bias)

        return Layer(
            input_norm=parts["input_layernorm.weight"],
            qkv=fused("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", to="qkv"),
            out=fused("self_attn.o_proj", to="out"),
            post_norm=parts["post_attention_layernorm.weight"],
            gate_up=fused("mlp.gate_proj", "mlp.up_proj", to="gate_up"),
            down=fused("mlp.down_proj", to="down"),
        )

    def _mask_row(self, embedding: torch.Tensor) -> torch.Tensor:
        """The checkpoint's own mask row; for a base that never had one, the mean of all rows."""
        if self._config.family == "qwen2":
            return embedding.float().mean(dim=0).to(embedding.dtype)
        return embedding[self._config.mask_token_id].clone()


def _attach_draft(decoder: Decoder, adapter: LoraAdapter) -> None:
    """Hang the low-rank pairs onto the fused layers they belong to."""
    for number, layer in enumerate(decoder.layers):
        for linear, names in (
            (layer.qkv, ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
            (layer.out, ("self_attn.o_proj",)),
            (layer.gate_up, ("mlp.gate_proj", "mlp.up_proj")),
            (layer.down, ("mlp.down_proj",)),
        ):
            widths = _part_widths(decoder.config, names)
            linear.adapter = _fuse_pairs(decoder, adapter, number, names, widths)
    if adapter.mask_embedding is not None:
        decoder.mask_embedding = adapter.mask_embedding.to(decoder.device, decoder.dtype)
    decoder.has_draft_adapter = True


def _part_widths(c: ModelConfig, names: tuple[str, ...]) -> list[int]:
    widths = {
        "q_proj": c.num_heads * c.head_dim,
        "k_proj": c.num_kv_heads * c.head_dim,
        "v_proj": c.num_kv_heads * c.head_dim,
        "gate_proj": c.intermediate_size,
        "up_proj": c.intermediate_size,
    }
    return [widths.get(name.rpartition(".")[2], c.hidden_size) for name in names]


def _fuse_pairs(
    decoder: Decoder,
    adapter: LoraAdapter,
    number: int,
    names: tuple[str, ...],
    widths: list[int],
) -> LowRank | None:
    """Stack the `down` sides and put the `up` sides on a block diagonal."""
    downs, ups, start = [], [], 0
    total = sum(widths)
    for name, width in zip(names, widths, strict=True):
        pair = adapter.pairs.get(f"layers.{number}.{name}")
        if pair is not None:
            down, up = pair
            placed = torch.zeros(total, up.shape[1], dtype=torch.float32)
            placed[start : start + width] = up.float() * adapter.scale
            downs.append(down.to(decoder.device, decoder.dtype))
            ups.append(placed.to(decoder.device, decoder.dtype))
        start += width
    if not downs:
        return None
    return LowRank(torch.cat(downs), torch.cat(ups, dim=1))
