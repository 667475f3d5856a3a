"""Compiles what the functions of `engine.kernels` would launch on a GPU; prints it as JSON.

Run in a process that does not interpret kernels. No GPU is needed, and none is used.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

KINDS = {
    torch.float32: "*fp32",
    torch.bfloat16: "*bf16",
    torch.int64: "*i64",
    torch.int32: "*i32",
    torch.uint8: "*u8",
}
ALIGNED = [["tt.divisibility", 16]]
built: list[dict[str, Any]] = []


def compiler_for(chip: int) -> Any:
    """What stands in for `JITFunction.run`: the same choice of what is constant or aligned, and
    the kernel for compute capability `chip` is added to `built` instead of being launched."""

    def run(self: Any, *args: Any, grid: Any, warmup: bool, **others: Any) -> None:
        options = {name: others.pop(name) for name in ("num_warps", "num_stages") if name in others}
        names = [parameter.name for parameter in self.params]
        source = source_of(self, dict(zip(names, args, strict=False)) | others)
        kernel = triton.compile(source, target=GPUTarget("cuda", chip, 32), options=options)
        ptx = kernel.asm["ptx"]
        built.append(
            {
                "chip": chip,
                "kernel": f"{self.fn.__module__.rpartition('.')[2]}.{self.fn.__name__}",
                "shared memory": kernel.metadata.shared,
                "products": len(re.findall(r"\b(?:mma|wgmma)\S*", ptx)),
                "wide stores": len(re.findall(r"st\.global\.v4\S*", ptx)),
                "stores of one element": len(re.findall(r"st\.global\.b16", ptx)),
                "spilled": "local" in ptx,
            }
        )

    return run


def source_of(function: Any, values: dict[str, Any]) -> ASTSource:
    signature, constants, hints = {}, {}, {}
    for at, parameter in enumerate(function.params):
        value = values[parameter.name]
        if isinstance(value, torch.Tensor):
            signature[parameter.name], hints[(at,)] = KINDS[value.dtype], ALIGNED
        elif parameter.is_constexpr or value is None:
            signature[parameter.name], constants[(at,)] = "constexpr", value
        elif isinstance(value, float):
            signature[parameter.name] = "fp32"
        else:
            signature[parameter.name] = "i32"
            if value % 16 == 0 and not parameter.do_not_specialize:
                hints[(at,)] = ALIGNED
    return ASTSource(function, signature, constants, hints)


def launch_all() -> None:
    """On tensors of the 8B shape, with blocks of 32 tokens."""
    from engine.kernels.low_rank import add_low_rank
    from engine.kernels.norm import rms_norm
    from engine.kernels.rope import rope_store
    from engine.kernels.survey import survey, threshold_commit
    from engine.kernels.swiglu import swiglu

    N, C, H, K, D = 32, 4096, 32, 8, 128

    def made(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
        return torch.zeros(shape, dtype=dtype)

    where = made(34, 2, dtype=torch.int64)
    one = made(1, dtype=torch.int64)
    rms_norm(made(N, C), made(C), 1e-5, made(N, C))
    new = made(1, N, K, D), made(1, N, K, D)
    tables = made(N, D), made(N, D), made(N)
    rope_store(made(N, (H + 2 * K) * D), *tables, where, 3, one, one, *new, H, True)
    swiglu(made(N, 2 * 14336))
    add_low_rank(made(N, C), made(128, C), made(C, 128), made(N, dtype=torch.bool), made(N, C))
    survey(made(N, 131072), made(131072, dtype=torch.float32), one.expand(2).contiguous())
    ids = made(N, dtype=torch.int64)
    threshold_commit(ids, made(N, dtype=torch.float32), ids, 100, 0.9, 1)


def main() -> int:
    from triton.backends import backends

    if "nvidia" not in backends:
        print("this build of triton compiles nothing for NVIDIA's chips", file=sys.stderr)
        return 3
    for chip in sys.argv[1:]:
        JITFunction.run = compiler_for(int(chip))
        launch_all()
    print(json.dumps(built))
    return 0


if __name__ == "__main__":
    sys.exit(main())
