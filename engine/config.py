"""EngineConfig: what one engine process was asked to run; resolved once, never mutated.

Built by the command line and handed to `engine.engine.Engine.load`. "auto" values become facts,
with their reasons, in `engine.device.choose_device`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

DEFAULT_MODEL = "qwen2.5-coder-0.5b"
NO_ADAPTER: Literal["none"] = "none"
Weights = Literal["auto", "full", "int8", "int4", "fp8"]
WEIGHTS: tuple[Weights, ...] = get_args(Weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """model: a name of `nemodiff models list`, a local folder or .gguf file, or a hub id
    ``owner/name[@revision]``. device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``. dtype: ``auto``,
    ``float32`` or ``bfloat16``. weights: of the linear layers, ``full`` (in dtype), ``int8`` (on a
    CPU with the kernels of engine.native), ``int4``, ``fp8`` (both no faster on a CPU), or
    ``auto``: int8 on a CPU where it was measured to be quicker and no dtype was asked for.
    num_threads: threads on a CPU (None = chosen).
    draft_adapter / causal_adapter: a PEFT folder, ``none``, or None for the one that lies in the
    checkpoint folder or comes with NemoDiff for this model.
    max_prefix_tokens / max_suffix_tokens: how much text around the cursor enters the prompt.
    max_context_tokens: how much of the pieces of other files that a request brings enters it
    besides (None = 512 on a CPU, 2048 on a GPU; 0 = nothing). prefill_chunk_tokens: a prefill is
    cut into forwards of this size, so that a cancelled request waits for one chunk at most (None =
    64 on a CPU, 512 on a GPU). max_cache_bytes: KV kept for later requests of known documents
    (None = room for four full windows with their context, at least 256 MiB). graphs: whether the
    passes of the decoding modes run as CUDA graphs: ``on``, ``off``, or ``auto``, where they can
    (on: also as static passes without graphs where there is no GPU, for tests). kernels: which
    steps of such a pass are Triton kernels: ``all``, ``none`` or some of engine.graphs.ops.KERNELS,
    separated by commas.
    """

    model: str = DEFAULT_MODEL
    device: str = "auto"
    dtype: str = "auto"
    weights: Weights = "auto"
    num_threads: int | None = None
    offline: bool = False
    draft_adapter: Path | Literal["none"] | None = None
    causal_adapter: Path | Literal["none"] | None = None
    max_prefix_tokens: int = 1536
    max_suffix_tokens: int = 384
    max_context_tokens: int | None = None
    prefill_chunk_tokens: int | None = None
    max_cache_bytes: int | None = None
    graphs: Literal["auto", "on", "off"] = "auto"
    kernels: str = "all"
