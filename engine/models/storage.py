"""How linear layers are stored: plain, oneDNN-packed, int8 for the native kernels, or rounded for
those of a GPU.

Called by `engine.models.load`, which puts the tensors together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from engine.device import DeviceChoice
from engine.errors import EngineError
from engine.models.config import ModelConfig
from engine.models.linear import Linear, packing_problem
from engine.quantised.weight import QuantisedWeight

if TYPE_CHECKING:
    from engine.models.decoder import Layer
    from engine.native.memory import Arena
    from engine.native.passes import NativePass
    from engine.native.weight import Int8Weight
    from engine.quantised.rounding import Kind

Report = Callable[[str, float | None], None]

# Below this a forward is all overhead, and building the kernels is not worth the wait.
_MIN_WEIGHTS = 32 * 10**6

HEAD = "head"
"""Name of the head among the layers."""

PLAIN_NOTE = "Linear layers: torch's own kernels."


@dataclass(frozen=True, slots=True)
class Storage:
    """kind of the linear layers, and a note why. packs_rest: whether what cannot be int8, adapters
    among it, is oneDNN-packed. rounding: to what the weights are rounded: ``quantised`` ones stay
    codes, ``plain`` and ``packed`` ones become full numbers again, once, at load."""

    kind: Literal["plain", "packed", "int8", "quantised"]
    note: str
    packs_rest: bool = False
    rounding: Kind | None = None


def choose_storage(choice: DeviceChoice, config: ModelConfig, report: Report) -> Storage:
    """What `choice.weights` comes to on this machine. Raises EngineError when int8 was asked for
    and cannot be had."""
    full = _full_storage(choice)
    if choice.weights == "full":
        return full
    rounding = choice.rounding
    if rounding is not None:
        return rounded_storage(choice, rounding)
    from engine.native import problem
    from engine.native.choice import layer_shapes

    num_weights = config.num_layers * sum(M * K for M, K in layer_shapes(config))
    if choice.weights == "auto" and num_weights < _MIN_WEIGHTS:
        return full

    report("preparing int8 kernels", None)
    reason = problem()
    if reason is not None:
        if choice.weights == "int8":
            raise EngineError(f"Weights int8 cannot be used: {reason}; leave them to be chosen.")
        return Storage(full.kind, f"{full.note} Not int8, since {reason}.", full.packs_rest)
    from engine.native import library
    from engine.native.choice import measured

    packed = full.kind == "packed"
    is_choice = choice.weights == "auto" or len(choice.native_threads) > 1
    found = (
        measured(config, choice.dtype, list(choice.native_threads), packed=packed)
        if is_choice
        else None
    )
    if found is not None and choice.weights == "auto" and not found.is_worth_it:
        return Storage(full.kind, f"{full.note} Not int8: {found.reason}.", packed)
    threads = found.num_threads if found is not None else choice.native_threads[0]
    library.set_threads(threads)
    reason = found.reason if found is not None and choice.weights == "auto" else "asked for"
    note = f"Linear layers: int8 in groups of 64 with {threads} thread(s): {reason}."
    return Storage("int8", note, packed)


def rounded_storage(choice: DeviceChoice, rounding: Kind) -> Storage:
    """Of weights rounded to `rounding`: codes where the kernels can be used, else their values."""
    from engine.quantised.rounding import head_kind

    head = head_kind(rounding)
    name = rounding if head == rounding else f"{rounding} (the head {head})"
    reason = "a CPU has no kernels for them"
    if choice.device.type != "cpu":
        from engine.kernels import problem

        found = problem(choice.device)
        if found is None:
            return Storage("quantised", f"Linear layers: {name} weights.", rounding=rounding)
        reason = found.rstrip(".")
    full = _full_storage(choice)
    note = f"{full.note} The weights are rounded to {name} but no faster, since {reason}."
    return replace(full, note=note, rounding=rounding)


def _full_storage(choice: DeviceChoice) -> Storage:
    if choice.device.type != "cpu":
        return Storage("plain", PLAIN_NOTE)
    problem = packing_problem(choice.dtype)
    if problem is None:
        note = "Linear layers: oneDNN-packed weights (self-check passed)."
        return Storage("packed", note, packs_rest=True)
    return Storage("plain", f"Linear layers: torch's own kernels, since {problem}.")


class Packer:
    """Makes the linear layers. Rounded weights of an installed model are kept in its folder, and
    taken from there the next time."""

    def __init__(
        self, storage: Storage, choice: DeviceChoice, model: Path, causal_adapter: Path | None
    ) -> None:
        self._storage, self._dtype, self._device = storage, choice.dtype, choice.device
        self._model = model
        self._path: Path | None = None
        self._arena: Arena | None = None
        self._kept: Mapping[str, Int8Weight | QuantisedWeight] = {}
        self._int8: dict[str, Int8Weight] = {}
        self._rounded: dict[str, QuantisedWeight] = {}
        if not self.quantises:
            return
        from engine.weights.store import models_folder

        sources = [*model.glob("*.safetensors"), model / "config.json"]
        sources += [] if causal_adapter is None else causal_adapter.glob("*.safetensors")
        is_installed = model.resolve().parent == models_folder().resolve()
        if storage.rounding is not None:
            self._find_rounded(model, sources if is_installed else None, storage.rounding)
        else:
            self._find_int8(model, sources if is_installed else None)

    def _find_int8(self, model: Path, sources: list[Path] | None) -> None:
        from engine.native.memory import Arena
        from engine.native.packed_file import packed_path, read_packed

        self._arena = Arena()
        if sources is not None:
            self._path = packed_path(model, sources)
            self._kept = read_packed(self._path) or {}

    def _find_rounded(self, model: Path, sources: list[Path] | None, rounding: Kind) -> None:
        from engine.quantised.kept_file import kept_path, read_kept

        if sources is not None:
            self._path = kept_path(model, rounding, sources)
            self._kept = read_kept(self._path, self._device) or {}

    @property
    def quantises(self) -> bool:
        return self._storage.kind == "int8" or self._storage.rounding is not None

    @property
    def is_complete(self) -> bool:
        """Whether no weight of a layer needs to be read."""
        return bool(self._kept)

    def linear(self, name: str, parts: Sequence[torch.Tensor], bias: torch.Tensor | None) -> Linear:
        """The layer `name`, whose weight is `parts` (out, in) below each other."""
        packs = self._storage.packs_rest
        if self._storage.rounding is not None:
            return self._rounded_linear(name, parts, bias, self._storage.rounding)
        if name in self._kept:
            return Linear(self._kept[name], bias, packed=packs)
        weight = _joined(parts)
        if self.quantises:
            from engine.native.library import fits
            from engine.native.memory import release
            from engine.native.weight import Int8Weight

            if fits(*weight.shape):
                self._int8[name] = Int8Weight.of(weight, self._arena)
                release(self._model)
                return Linear(self._int8[name], bias, packed=packs)
            # A file without it would not do in place of the weights.
            self._path = None
            weight = weight.to(self._dtype)
        return Linear(weight, bias, packed=packs)

    def _rounded_linear(
        self, name: str, parts: Sequence[torch.Tensor], bias: torch.Tensor | None, rounding: Kind
    ) -> Linear:
        from engine.quantised.rounding import head_kind

        weight = self._kept.get(name)
        if not isinstance(weight, QuantisedWeight):
            kind = head_kind(rounding) if name == HEAD else rounding
            weight = QuantisedWeight.of(_joined(parts).to(self._device), kind)
            self._rounded[name] = weight
        if self._storage.kind == "quantised":
            return Linear(weight, bias, packed=False)
        full = weight.dequantise(self._dtype)
        return Linear(full, bias, packed=self._storage.packs_rest, rounded_to=weight.kind)

    def native(
        self, config: ModelConfig, layers: Sequence[Layer], norm: torch.Tensor, dtype: torch.dtype
    ) -> NativePass | None:
        """Runs `layers` in the native kernels; None where some of it must be torch's."""
        if self._storage.kind != "int8":
            return None
        from engine.native.passes import NativePass

        fits = NativePass.fits(config, layers)
        return NativePass(config, layers, norm, dtype) if fits else None

    def keep(self) -> None:
        """Write what was rounded now, if it is a whole installed model."""
        if self._storage.kind == "int8":
            from engine.native.memory import release

            # Of the files, rows of the embedding are all that is read from now on.
            release(self._model)
        if self._path is None or self._kept:
            return
        if self._int8:
            from engine.native.packed_file import write_packed

            write_packed(self._path, self._int8)
        if self._rounded:
            from engine.quantised.kept_file import write_kept

            write_kept(self._path, self._rounded)
            self._rounded = {}


def _joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
