"""Rounded weights on disk: rounding is done once for a model. A safetensors file under a name that
no reader of checkpoints takes for one; its metadata tell the kind and the inputs of each weight."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from engine.quantised.rounding import KINDS, Kind, block_of
from engine.quantised.weight import QuantisedWeight

logger = logging.getLogger(__name__)

_FORMAT = "1"
_SUFFIX = "quantised"
_ENTRY = "weights"


def kept_path(model: Path, kind: Kind, sources: Iterable[Path]) -> Path:
    """Where the weights of the model folder belong that were made from the files `sources`."""
    digest = hashlib.sha256(_FORMAT.encode())
    for path in sorted(sources):
        state = path.stat()
        digest.update(f"\0{path}\0{state.st_size}\0{state.st_mtime_ns}".encode())
    return model / f"{digest.hexdigest()[:16]}.{kind}.{_SUFFIX}"


def read_kept(path: Path, device: torch.device) -> dict[str, QuantisedWeight] | None:
    """The weights in `path` by name; None where there is no such file or it is not whole."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            # One entry: the library writes several in any order.
            facts = json.loads((file.metadata() or {}).get(_ENTRY, "null"))
            if not isinstance(facts, dict) or facts.pop("format", None) != _FORMAT:
                return None
            stored = set(file.keys())
            weights = {}
            for name, fact in facts.items():
                parts = {
                    part: file.get_tensor(f"{name}.{part}") if f"{name}.{part}" in stored else None
                    for part in ("codes", "scales", "zeros")
                }
                weights[name] = _weight(fact, **parts)
            return weights
    except (OSError, ValueError, SafetensorError) as error:
        logger.info("kept weights are not used: %s", type(error).__name__)
        return None


def write_kept(path: Path, weights: Mapping[str, QuantisedWeight]) -> bool:
    """Write `weights` to `path`, whole or not at all, and remove older files of the kind beside it.

    False, and no more than a line in the log, where the folder cannot be written.
    """
    tensors, facts = {}, {"format": _FORMAT}
    for name, weight in weights.items():
        facts[name] = f"{weight.kind} {weight.num_inputs}"
        parts = {"codes": weight.codes, "scales": weight.scales, "zeros": weight.zeros}
        for part, tensor in parts.items():
            if tensor is not None:
                tensors[f"{name}.{part}"] = tensor.cpu()
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{_SUFFIX}-") as folder:
            fresh = Path(folder) / path.name
            save_file(tensors, fresh, metadata={_ENTRY: json.dumps(facts)})
            fresh.chmod(0o644)
            os.replace(fresh, path)
        kind = path.name.split(".")[-2]
        for old in path.parent.glob(f"*.{kind}.{_SUFFIX}"):
            if old != path:
                with contextlib.suppress(OSError):
                    old.unlink()
    except (OSError, SafetensorError) as error:
        logger.info("rounded weights are not kept: %s", type(error).__name__)
        return False
    return True


def _weight(
    fact: str,
    codes: torch.Tensor | None,
    scales: torch.Tensor | None,
    zeros: torch.Tensor | None,
) -> QuantisedWeight:
    """Raises ValueError where the parts do not fit together."""
    kind, _, number = fact.partition(" ")
    known = next((each for each in KINDS if each == kind), None)
    if known is None or codes is None or scales is None or (zeros is None) is (known == "int4"):
        raise ValueError(fact)
    K = int(number)
    block = block_of(K)
    num_blocks = -(-K // block)
    width, num_groups = {
        "int8": (block, num_blocks),
        "int4": (block // 2, 2 * num_blocks),
        "fp8": (block, 1),
    }[known]
    shape = (num_groups, codes.shape[1])
    if codes.shape != (num_blocks, shape[1], width) or scales.shape != shape:
        raise ValueError(fact)
    if zeros is not None and zeros.shape != shape:
        raise ValueError(fact)
    return QuantisedWeight(known, codes, scales, zeros, K)
