"""Reads the header of a GGUF file: metadata and where each tensor lies; used by the importer.

Written by hand because the `gguf` package's reader keeps an array object per vocabulary string
(seconds and hundreds of MB for 151,936 tokens) and does not notice truncation. Format: GGUF v2/v3,
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from engine.weights.errors import WeightsError

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
# GGUF value type -> struct code.
_SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """shape is row-major (out, in), as torch has it; offset counts from the start of the file."""

    name: str
    shape: tuple[int, ...]
    kind: gguf.GGMLQuantizationType
    offset: int
    num_bytes: int


@dataclass(frozen=True, slots=True)
class GgufFile:
    """Header of the file at `path`; metadata values are plain Python ones."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, GgufTensor]

    def rows(self, tensor: GgufTensor, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Rows start..stop of `tensor` dequantised, (stop - start, in); a vector is one row.

        Raises WeightsError when the quantisation is not known.
        """
        num_rows = math.prod(tensor.shape[:-1])
        row_bytes = tensor.num_bytes // num_rows
        raw = np.fromfile(
            self.path,
            dtype=np.uint8,
            count=(stop - start) * row_bytes,
            offset=tensor.offset + start * row_bytes,
        ).reshape(stop - start, row_bytes)
        floats = {gguf.GGMLQuantizationType.F32: "<f4", gguf.GGMLQuantizationType.F16: "<f2"}
        if tensor.kind in floats:
            return raw.view(floats[tensor.kind]).astype(np.float32)
        try:
            return gguf.quants.dequantize(raw, tensor.kind).astype(np.float32, copy=False)
        except NotImplementedError:
            raise WeightsError(
                f"{self.path}: tensor {tensor.name} is quantised as {tensor.kind.name}, "
                "which cannot be read."
            ) from None


class _Cursor:
    """Reads values one after the other; struct.error or IndexError past the end of the data."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.offset = 0

    def scalar(self, code: str) -> Any:
        (value,) = struct.unpack_from("<" + code, self.data, self.offset)
        self.offset += struct.calcsize("<" + code)
        return value

    def string(self) -> str:
        num_bytes = self.scalar("Q")
        if num_bytes > len(self.data) - self.offset:
            raise IndexError
        text = self.data[self.offset : self.offset + num_bytes].decode("utf-8")
        self.offset += num_bytes
        return text

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            item, count = self.scalar("I"), self.scalar("Q")
            if count > len(self.data) - self.offset:
                raise IndexError
            if item in (_STRING, _ARRAY):
                return [self.value(item) for _ in range(count)]
            code = f"<{count}{_SCALARS[item]}"
            values = struct.unpack_from(code, self.data, self.offset)
            self.offset += struct.calcsize(code)
            return list(values)
        return self.scalar(_SCALARS[kind])


def read_gguf(path: Path) -> GgufFile:
    """Header of the GGUF file at `path`; raises WeightsError when it is none or truncated."""
    try:
        with path.open("rb") as file:
            if file.read(4) != _MAGIC:
                raise WeightsError(f"{path} is not a GGUF file.")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _read(path, data)
    except (struct.error, IndexError):
        raise WeightsError(f"{path} is truncated: its header ends early.") from None
    except (KeyError, UnicodeDecodeError, ValueError) as error:
        raise WeightsError(f"{path} is not a readable GGUF file ({error}).") from None
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from None


def _read(path: Path, data: mmap.mmap) -> GgufFile:
    cursor = _Cursor(data)
    cursor.offset = len(_MAGIC)
    version = cursor.scalar("I")
    if version not in _VERSIONS:
        raise WeightsError(f"{path} has GGUF version {version}; known are 2 and 3.")
    num_tensors, num_fields = cursor.scalar("Q"), cursor.scalar("Q")
    metadata: dict[str, Any] = {}
    for _ in range(num_fields):
        key = cursor.string()
        metadata[key] = cursor.value(cursor.scalar("I"))
    placed = [_tensor_entry(cursor) for _ in range(num_tensors)]
    alignment = int(metadata.get("general.alignment", 32))
    start = -(-cursor.offset // alignment) * alignment
    tensors: dict[str, GgufTensor] = {}
    for name, shape, kind, offset in placed:
        block_values, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        num_bytes = math.prod(shape) // block_values * block_bytes
        if shape[-1] % block_values:
            raise WeightsError(f"{path}: rows of tensor {name} are no multiple of {block_values}.")
        if start + offset + num_bytes > len(data):
            raise WeightsError(f"{path} is truncated: tensor {name} lies beyond its end.")
        if name in tensors:
            raise WeightsError(f"{path} holds tensor {name} twice.")
        tensors[name] = GgufTensor(name, shape, kind, start + offset, num_bytes)
    return GgufFile(path, metadata, tensors)


def _tensor_entry(
    cursor: _Cursor,
) -> tuple[str, tuple[int, ...], gguf.GGMLQuantizationType, int]:
    name = cursor.string()
    num_dims = cursor.scalar("I")
    if not 1 <= num_dims <= 4:
        raise ValueError(f"tensor {name} has {num_dims} dimensions")
    shape = tuple(cursor.scalar("Q") for _ in range(num_dims))[::-1]
    if 0 in shape:
        raise ValueError(f"tensor {name} is empty")
    return name, shape, gguf.GGMLQuantizationType(cursor.scalar("I")), cursor.scalar("Q")
