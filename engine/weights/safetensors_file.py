"""The safetensors container: its header read and checked by hand, and a writer that streams.

The header is read here, not by the library, so that every fault gets a sentence that names file
and tensor; tensors themselves are mapped by the library. Format: 8 bytes little-endian header
length, JSON header, then the tensors' bytes (https://github.com/huggingface/safetensors).
"""

from __future__ import annotations

import hashlib
import json
import math
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from engine.weights.errors import WeightsError

SUPPORTED_DTYPES = {"F32": 4, "F16": 2, "BF16": 2}
"""Accepted element types and their size in bytes."""

_ITEM_BYTES = {**SUPPORTED_DTYPES, "I8": 1}

_MAX_HEADER_BYTES = 100 * 2**20


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor as the header describes it; begin and end are byte offsets into the data."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(path: Path) -> dict[str, TensorInfo]:
    """Tensors of the safetensors file at `path`, checked against its size; no tensor is read.

    Raises WeightsError for a missing, truncated or malformed file.
    """
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            # A named pipe, for one, would be waited on for ever.
            raise WeightsError(f"{path} is not a regular file; put the weights themselves there.")
        num_bytes = facts.st_size
        with path.open("rb") as file:
            prefix = file.read(8)
            header_bytes = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else num_bytes
            if header_bytes > min(num_bytes - 8, _MAX_HEADER_BYTES):
                raise WeightsError(
                    f"{path} is truncated or not a safetensors file; download it again."
                )
            text = file.read(header_bytes)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from None
    tensors = _parse_header(path, text)
    expected = 8 + header_bytes + max((info.end for info in tensors.values()), default=0)
    if expected > num_bytes:
        raise WeightsError(
            f"{path} is truncated: it has {num_bytes} of {expected} bytes; download it again."
        )
    if expected < num_bytes:
        raise WeightsError(f"{path} has {num_bytes - expected} bytes more than its header says.")
    return tensors


def _parse_header(path: Path, text: bytes) -> dict[str, TensorInfo]:
    try:
        raw = json.loads(text)
    except (UnicodeDecodeError, json.JSONDecodeError):
        raise WeightsError(f"{path} is not a safetensors file: its header is no JSON.") from None
    if not isinstance(raw, dict):
        raise WeightsError(f"{path} is not a safetensors file: its header is no JSON object.")
    tensors = {
        name: _parse_tensor(path, name, value)
        for name, value in raw.items()
        if name != "__metadata__"
    }
    position = 0
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if info.begin != position:
            raise WeightsError(f"{path}: tensor {name} overlaps another one or leaves a gap.")
        position = info.end
    return tensors


def _parse_tensor(path: Path, name: str, value: Any) -> TensorInfo:
    try:
        begin, end = value["data_offsets"]
        numbers = (*value["shape"], begin, end)
        info = TensorInfo(str(value["dtype"]), tuple(value["shape"]), begin, end)
        if not all(type(n) is int and n >= 0 for n in numbers) or end < begin:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise WeightsError(f"{path}: the header entry of tensor {name} is malformed.") from None
    item_bytes = _ITEM_BYTES.get(info.dtype)
    if item_bytes is not None and math.prod(info.shape) * item_bytes != end - begin:
        raise WeightsError(f"{path}: tensor {name} has not as many bytes as its shape asks for.")
    return info


def check_dtype(path: Path, name: str, info: TensorInfo) -> None:
    """Raises WeightsError when the tensor's element type is not supported."""
    if info.dtype not in SUPPORTED_DTYPES:
        raise WeightsError(
            f"{path}: tensor {name} has dtype {info.dtype}; "
            f"supported are {', '.join(SUPPORTED_DTYPES)}."
        )


class Bf16Writer:
    """Writes a bf16 safetensors file piece by piece, so that no whole tensor needs memory.

    Use as a context manager: call `write` for each tensor of `shapes`, in that order and as many
    times per tensor as needed. `sha256` and `num_bytes` are valid after the block.
    """

    def __init__(self, path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        position = 0
        for name, shape in shapes.items():
            end = position + 2 * math.prod(shape)
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [position, end]}
            position = end
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # readers map the data, which must start aligned
        self.num_bytes = 8 + len(text) + position
        self._written_bytes = 8 + len(text)
        self._digest = hashlib.sha256(struct.pack("<Q", len(text)) + text)
        self._file = path.open("wb")
        self._file.write(struct.pack("<Q", len(text)) + text)

    def write(self, values: torch.Tensor) -> None:
        """Append a contiguous piece of the current tensor; any float dtype, rounded to bf16."""
        data = values.to(torch.bfloat16).contiguous().view(torch.int16).numpy().data.cast("B")
        self._digest.update(data)
        self._file.write(data)
        self._written_bytes += len(data)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def __enter__(self) -> Bf16Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self._file.close()
        if kind is None and self._written_bytes != self.num_bytes:
            raise ValueError(f"{self._written_bytes} bytes written, {self.num_bytes} announced")
