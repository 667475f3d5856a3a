"""Packed int8 weights on disk: packing is done once for a model.

One file: a line of JSON padded to whole pages, then the weights, each at a multiple of 64 bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from engine.native.library import packed_bytes
from engine.native.memory import huge
from engine.native.weight import Int8Weight

logger = logging.getLogger(__name__)

_FORMAT = 1
_PAGE = 4096
_LINE = 64
_MAX_HEADER = 2**20
_READ = 2**26


def packed_path(model: Path, sources: Iterable[Path]) -> Path:
    """Where the weights of the model folder belong that were packed from the files `sources`."""
    digest = hashlib.sha256(f"{_FORMAT}".encode())
    for path in sorted(sources):
        state = path.stat()
        digest.update(f"\0{path}\0{state.st_size}\0{state.st_mtime_ns}".encode())
    return model / f"{digest.hexdigest()[:16]}.int8"


def read_packed(path: Path) -> dict[str, Int8Weight] | None:
    """The weights in `path` by name; None where there is no such file or it is not whole."""
    try:
        # Read, not mapped: a mapped file never lies in huge pages.
        with path.open("rb", buffering=0) as file:
            size = path.stat().st_size
            memory = huge(size)
            view = memory.numpy().data
            at = 0
            while read := file.readinto(view[at : at + _READ]):
                at += read
        index = json.loads(bytes(view[: bytes(view[:_MAX_HEADER]).index(b"\n")]))["weights"]
        if at != size or size != max(int(at) + packed_bytes(M, K) for at, M, K in index.values()):
            return None
        return {
            name: Int8Weight(memory[at : at + packed_bytes(M, K)], M, K)
            for name, (at, M, K) in index.items()
        }
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        return None


def write_packed(path: Path, weights: Mapping[str, Int8Weight]) -> bool:
    """Write `weights` to `path`, whole or not at all, and remove older files of the kind beside it.

    False, and no more than a line in the log, where the folder cannot be written.
    """
    header_size, index = _layout(weights)
    header = json.dumps({"format": _FORMAT, "weights": index}).encode()
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".int8-", delete=False) as file:
            fresh = Path(file.name)
            try:
                file.write(header.ljust(header_size - 1) + b"\n")
                for name, weight in weights.items():
                    file.write(bytes(index[name][0] - file.tell()))
                    file.write(weight.packed.numpy().data)
                file.flush()
                fresh.chmod(0o644)
                os.replace(fresh, path)
            finally:
                fresh.unlink(missing_ok=True)
        for old in path.parent.glob("*.int8"):
            if old != path:
                with contextlib.suppress(OSError):
                    old.unlink()
    except OSError as error:
        logger.info("packed weights are not kept: %s", error.strerror or type(error).__name__)
        return False
    return True


def _layout(weights: Mapping[str, Int8Weight]) -> tuple[int, dict[str, tuple[int, int, int]]]:
    """Size of the header; offset, outputs and inputs of each weight."""
    header_size = _PAGE * -(-(128 + sum(len(name) + 64 for name in weights)) // _PAGE)
    index, at = {}, header_size
    for name, weight in weights.items():
        index[name] = (at, weight.num_outputs, weight.num_inputs)
        at += -(-weight.packed.numel() // _LINE) * _LINE
    return header_size, index
