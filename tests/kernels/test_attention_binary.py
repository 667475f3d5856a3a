"""What the split kernel is compiled to, on any machine: the compiler needs no GPU.

It is run in a process of its own, as this one may interpret its kernels.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

if importlib.util.find_spec("triton") is None:
    pytest.skip("triton is not installed", allow_module_level=True)

ROOT = Path(__file__).parents[2]

# Compute capability, and the bytes of shared memory that a program may have there.
CHIPS = {90: 227 * 1024, 86: 99 * 1024}
# Sequences, tokens, and num_heads, num_kv_heads, head_dim: a block, alternatives, one token.
PASSES = [(1, 32, (32, 8, 128)), (4, 16, (12, 2, 128)), (1, 1, (14, 2, 64))]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, int]]:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path_factory.mktemp("triton"))
    run = subprocess.run(
        [sys.executable, "-m", "tests.kernels.test_attention_binary"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if run.returncode == 3:
        pytest.skip(run.stderr.strip())
    assert run.returncode == 0, run.stderr[-2000:]
    found: list[dict[str, int]] = json.loads(run.stdout)
    assert len(found) == len(CHIPS) * len(PASSES)
    return found


def test_the_cache_is_read_in_wide_copies_ahead_of_use(built: list[dict[str, int]]) -> None:
    """Nothing is known of addresses read from memory but what the kernel says of them. Without
    that, each element was loaded by itself, and none ahead."""
    for kernel in built:
        assert kernel["copies of 16 bytes"] > 0, kernel
        assert kernel["smaller copies"] == kernel["loads of one element"] == 0, kernel


def test_it_fits_into_shared_memory(built: list[dict[str, int]]) -> None:
    for kernel in built:
        assert 0 < kernel["shared memory"] <= CHIPS[kernel["chip"]], kernel


def compiled(chip: int, rows: int, tokens: int, heads: tuple[int, int, int]) -> dict[str, int]:
    """Counts of what is in the PTX of the split kernel, as a launch in bfloat16 has it made."""
    import torch
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.runtime.jit import JITFunction

    from tests.kernels.attention_case import make_case
    from tests.kernels.cross_compile import source_of

    made: list[Any] = []

    def run(self: Any, *args: Any, grid: Any, warmup: bool, **others: Any) -> None:
        options = {name: others.pop(name) for name in ("num_warps", "num_stages") if name in others}
        names = [parameter.name for parameter in self.params]
        source = source_of(self, dict(zip(names, args, strict=False)) | others)
        made.append(triton.compile(source, target=GPUTarget("cuda", chip, 32), options=options))

    JITFunction.run = run
    cpu = torch.device("cpu")
    make_case(cpu, torch.bfloat16, rows=rows, tokens=tokens, heads=heads, length=9).attend(4)
    split, _join = made
    copies = re.findall(r"cp\.async\.c[ag]\S* \[[^]]*\], \[[^]]*\], (\w+)", split.asm["ptx"])
    return {
        "chip": chip,
        "shared memory": split.metadata.shared,
        "copies of 16 bytes": copies.count("0x10"),
        "smaller copies": len(copies) - copies.count("0x10"),
        "loads of one element": len(re.findall(r"ld\.global\S*\.b16\b", split.asm["ptx"])),
    }


def main() -> int:
    from triton.backends import backends

    if "nvidia" not in backends:
        print("this build of triton compiles nothing for NVIDIA's chips", file=sys.stderr)
        return 3
    print(json.dumps([compiled(chip, *each) for chip in CHIPS for each in PASSES]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
