"""What this machine can do at most, measured in the same rounds as the passes it is the floor of.

Copying large tensors gives the bandwidth that floors are made with (bytes read and bytes written
both count), reading them alone another, products of large matrices the matrix rate of each dtype.
A CPU that writes a line reads it first, which the copy does not count: a pass, which reads nearly
all that it moves, may so be quicker than its floor by copying, but not than that by reading.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from engine.bench.costs import Floor, Work, floor_of
from engine.bench.rounds import Measured, Variant
from engine.bench.timing import Sample, timed

_COPY = "ceiling copy"
_READ = "ceiling read "
_READ_KINDS = ("dot", "sum", "max")
_PRODUCT = "ceiling product "
_COPY_BYTES = {"cpu": 256 * 2**20, "cuda": 4 * 2**30}
_PRODUCT_SIZE = {"cpu": 1536, "cuda": 8192}
# Of one sample, which is the quickest of them.
_REPEATS = 3
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Ceilings:
    """bytes_per_s: copied, read and written. flops_per_s: by the dtype's name. read_bytes_per_s:
    of reading alone; None where it was not measured."""

    bytes_per_s: float
    flops_per_s: dict[str, float]
    num_threads: int = 1
    read_bytes_per_s: float | None = None

    def floor(self, work: Work, rate: str) -> Floor:
        """Where the rate of `rate` could not be measured, bfloat16's is taken, or the only one."""
        rates = self.flops_per_s
        known = rates.get(rate, rates.get("bfloat16", next(iter(rates.values()))))
        return floor_of(work, self.bytes_per_s, known)

    def read_ms(self, work: Work) -> float | None:
        """To move the bytes of `work` at the bandwidth of reading; None if that is not known."""
        if self.read_bytes_per_s is None:
            return None
        return work.num_bytes / self.read_bytes_per_s * 1e3

    def to_json(self) -> dict[str, Any]:
        return {
            "num_threads": self.num_threads,
            "copy_gb_per_s": round(self.bytes_per_s / 1e9, 3),
            "read_gb_per_s": None
            if self.read_bytes_per_s is None
            else round(self.read_bytes_per_s / 1e9, 3),
            "product_gflop_per_s": {
                name: round(rate / 1e9, 3) for name, rate in self.flops_per_s.items()
            },
        }


@dataclass(slots=True)
class CeilingProbe:
    """Makes the variants and reads the ceilings off them. num_threads: on a CPU, as many as the
    path with the most of them has. small: tiny sizes, for tests."""

    device: torch.device
    rates: Sequence[str]
    num_threads: int = 1
    small: bool = False

    def variants(self) -> list[Variant]:
        """To be measured among the others; a rate that torch cannot do here is left out."""
        source = torch.rand(self._copy_bytes // 4, device=self.device)
        copy: Callable[[], object] = partial(torch.empty_like(source).copy_, source)
        works = {_COPY: copy, **_readings(source)}
        made = [Variant(name, self._sampler(work), warm_calls=1) for name, work in works.items()]
        for rate in dict.fromkeys(self.rates):
            work = self._product(rate)
            if work is not None:
                made.append(Variant(_PRODUCT + rate, self._sampler(work), warm_calls=1))
        return made

    def read(self, measured: Sequence[Measured]) -> Ceilings:
        """From the quickest sample: a ceiling that noise had lowered would flatter every ratio to
        it."""
        rates: dict[str, float] = {}
        for rate in dict.fromkeys(self.rates):
            times = _times(measured, _PRODUCT + rate)
            if times:
                rates[rate] = 2.0 * self._size**3 / _quick_s(times)
        bytes_per_s = 2.0 * self._copy_bytes / _quick_s(_times(measured, _COPY))
        readings = [ms for kind in _READ_KINDS for ms in _times(measured, _READ + kind)]
        read_bytes_per_s = self._copy_bytes / _quick_s(readings) if readings else None
        return Ceilings(bytes_per_s, rates, self.num_threads, read_bytes_per_s)

    @property
    def _copy_bytes(self) -> int:
        return 2**20 if self.small else _COPY_BYTES[self.device.type]

    @property
    def _size(self) -> int:
        return 64 if self.small else _PRODUCT_SIZE[self.device.type]

    def _sampler(self, work: Callable[[], object]) -> Callable[[int], Sample]:
        def sample(number: int) -> Sample:
            before = torch.get_num_threads()
            torch.set_num_threads(self.num_threads)
            try:
                return min((timed(self.device, work) for _ in range(_REPEATS)), key=_device_ms)
            finally:
                torch.set_num_threads(before)

        return sample

    def _product(self, rate: str) -> Callable[[], object] | None:
        """The product of two square matrices; None where this machine cannot do it."""
        if rate == "int8":
            work = self._int8_product()
        else:
            draw = partial(torch.randn, self._size, self._size, device=self.device)
            left, right = (draw(dtype=_DTYPES[rate]) for _ in range(2))
            work = _packed(left, right) or partial(F.linear, left, right)
        try:
            work()
        except RuntimeError:
            return None
        return work

    def _int8_product(self) -> Callable[[], object]:
        shape = (self._size, self._size)
        left, right = (
            torch.randint(-127, 127, shape, dtype=torch.int8, device=self.device) for _ in range(2)
        )
        return lambda: torch._int_mm(left, right.t())


def _readings(source: torch.Tensor) -> dict[str, Callable[[], object]]:
    """Ways to read all of fp32 (N,) `source`; which of torch's reductions is the quickest differs
    from machine to machine."""
    return {
        _READ + "dot": partial(torch.dot, source, source),
        _READ + "sum": source.sum,
        _READ + "max": source.view(torch.int32).max,
    }


def _packed(left: torch.Tensor, right: torch.Tensor) -> Callable[[], object] | None:
    """The product with oneDNN's own layout, on a CPU the quicker one, where it can be had."""
    if left.device.type != "cpu":
        return None
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(right, left.shape[0])
        torch.ops.mkldnn._linear_pointwise(left, packed, None, "none", [], "")
    except (AttributeError, RuntimeError):
        return None
    return lambda: torch.ops.mkldnn._linear_pointwise(left, packed, None, "none", [], "")


def _times(measured: Sequence[Measured], name: str) -> list[float]:
    """By the device's own clock where it has one."""
    return [_device_ms(sample) for one in measured for sample in one.samples.get(name, [])]


def _device_ms(sample: Sample) -> float:
    return sample.ms if sample.device_ms is None else sample.device_ms


def _quick_s(times_ms: Sequence[float]) -> float:
    return max(min(times_ms), 1e-6) / 1e3
