"""How linear layers are stored: plain, oneDNN-packed, or int8 for the native kernels.

Called by `engine.models.load`, which puts the tensors together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from engine.device import DeviceChoice
from engine.errors import EngineError
from engine.models.config import ModelConfig
from engine.models.linear import Linear, packing_problem

if TYPE_CHECKING:
    from engine.models.decoder import Layer
    from engine.native.memory import Arena
    from engine.native.passes import NativePass
    from engine.native.weight import Int8Weight

Report = Callable[[str, float | None], None]

# Below this a forward is all overhead, and building the kernels is not worth the wait.
_MIN_WEIGHTS = 32 * 10**6

PLAIN_NOTE = "Linear layers: torch's own kernels."


@dataclass(frozen=True, slots=True)
class Storage:
    """kind of the linear layers, and a note why. packs_rest: whether what cannot be int8, adapters
    among it, is oneDNN-packed."""

    kind: Literal["plain", "packed", "int8"]
    note: str
    packs_rest: bool = False


def choose_storage(choice: DeviceChoice, config: ModelConfig, report: Report) -> Storage:
    """What `choice.weights` comes to on this machine. Raises EngineError when int8 was asked for
    and cannot be had."""
    full = _full_storage(choice)
    if choice.weights == "full":
        return full
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


def _full_storage(choice: DeviceChoice) -> Storage:
    if choice.device.type != "cpu":
        return Storage("plain", PLAIN_NOTE)
    problem = packing_problem(choice.dtype)
    if problem is None:
        note = "Linear layers: oneDNN-packed weights (self-check passed)."
        return Storage("packed", note, packs_rest=True)
    return Storage("plain", f"Linear layers: torch's own kernels, since {problem}.")


class Packer:
    """Makes the linear layers. int8 weights of an installed model are kept in its folder, and taken
    from there the next time."""

    def __init__(
        self, storage: Storage, dtype: torch.dtype, model: Path, causal_adapter: Path | None
    ) -> None:
        self._storage, self._dtype = storage, dtype
        self._path: Path | None = None
        self._arena: Arena | None = None
        self._kept: dict[str, Int8Weight] = {}
        self._new: dict[str, Int8Weight] = {}
        if not self.quantises:
            return
        from engine.native.memory import Arena
        from engine.native.packed_file import packed_path, read_packed
        from engine.weights.store import models_folder

        self._arena = Arena()
        if model.resolve().parent == models_folder().resolve():
            sources = [*model.glob("*.safetensors"), model / "config.json"]
            sources += [] if causal_adapter is None else causal_adapter.glob("*.safetensors")
            self._path = packed_path(model, sources)
            self._kept = read_packed(self._path) or {}

    @property
    def quantises(self) -> bool:
        return self._storage.kind == "int8"

    @property
    def is_complete(self) -> bool:
        """Whether no weight of a layer needs to be read."""
        return bool(self._kept)

    def linear(self, name: str, parts: Sequence[torch.Tensor], bias: torch.Tensor | None) -> Linear:
        """The layer `name`, whose weight is `parts` (out, in) below each other."""
        packs = self._storage.packs_rest
        if name in self._kept:
            return Linear(self._kept[name], bias, packed=packs)
        weight = parts[0] if len(parts) == 1 else torch.cat(list(parts))
        if self.quantises:
            from engine.native.library import fits
            from engine.native.weight import Int8Weight

            if fits(*weight.shape):
                self._new[name] = Int8Weight.of(weight, self._arena)
                return Linear(self._new[name], bias, packed=packs)
            # A file without it would not do in place of the weights.
            self._path = None
            weight = weight.to(self._dtype)
        return Linear(weight, bias, packed=packs)

    def native(
        self, config: ModelConfig, layers: Sequence[Layer], norm: torch.Tensor, dtype: torch.dtype
    ) -> NativePass | None:
        """Runs `layers` in the native kernels; None where some of it must be torch's."""
        if not self.quantises:
            return None
        from engine.native.passes import NativePass

        fits = NativePass.fits(config, layers)
        return NativePass(config, layers, norm, dtype) if fits else None

    def keep(self) -> None:
        """Write what was packed now, if it is a whole installed model."""
        if self._path is not None and self._new and not self._kept:
            from engine.native.packed_file import write_packed

            write_packed(self._path, self._new)
