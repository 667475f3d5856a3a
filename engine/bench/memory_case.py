"""Case memory: what a fresh process holds after each stage; run with ``python -m`` for each path.

As a program it loads the model and writes one line of JSON for each stage.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from engine.bench.paths import parse_paths
from engine.config import EngineConfig
from engine.errors import EngineError

_STATUS = Path("/proc/self/status")
_TIMEOUT_S = 600.0
_PREFILL_TOKENS = 1024
_NUM_COMPLETIONS = 4


def memory_rows(paths: Sequence[str], common: EngineConfig) -> list[dict[str, Any]]:
    """Stages of all paths, one process after the other. Raises EngineError."""
    return [{"path": path, **stage} for path in paths for stage in _stages(path, common)]


def _stages(path: str, common: EngineConfig) -> list[dict[str, Any]]:
    asked = {"path": path, "model": common.model, "device": common.device, "dtype": common.dtype}
    asked["num_threads"] = str(common.num_threads or "")
    command = [sys.executable, "-m", "engine.bench.memory_case", json.dumps(asked)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise EngineError(f"Loading path {path} took more than ten minutes.") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise EngineError(f"The process that tells the memory of path {path} failed: {last}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def main(arguments: Sequence[str]) -> int:
    """Tell every stage."""
    asked = json.loads(arguments[0])
    _tell("Python")
    import torch

    _tell("torch imported")
    from engine.bench.prompts import code_holes
    from engine.bench.subject import drawn_tokens, load_subjects
    from engine.decoding.forward import prefill
    from engine.decoding.loop import Limits, Meter, run_steps
    from engine.messages.completion import CompletionRequest

    num_threads = int(asked["num_threads"]) if asked["num_threads"] else None
    common = EngineConfig(
        model=asked["model"], device=asked["device"], dtype=asked["dtype"], num_threads=num_threads
    )
    (subject,) = load_subjects(parse_paths(asked["path"]), common, None)
    engine = subject.engine
    assert engine is not None
    device = subject.device
    _tell("model loaded", device)
    cache = engine.decoder.new_cache()
    length = min(_PREFILL_TOKENS, engine.decoder.config.max_positions)
    steps = prefill(drawn_tokens(engine.decoder, length), cache, subject.chunk_tokens)
    run_steps(steps, engine.decoder, cache, Meter(), Limits())
    _tell(f"{length} tokens read", device, num_kv_bytes=cache.num_bytes)
    del cache, steps
    for hole in code_holes(_NUM_COMPLETIONS, prefix_chars=1_000):
        request = CompletionRequest(
            prompt=hole.prefix, suffix=hole.suffix, max_tokens=16, document=hole.module
        )
        engine.complete(request)
    kept = engine.prefix_cache.num_bytes
    _tell(f"{_NUM_COMPLETIONS} documents completed", device, num_kv_bytes=kept)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return 0


def _tell(stage: str, device: Any = None, num_kv_bytes: int = 0) -> None:
    figures: dict[str, Any] = {
        "stage": stage,
        "rss_mb": round(psutil.Process(os.getpid()).memory_info().rss / 2**20, 1),
        "anonymous_mb": _anonymous_mb(),
        "kv_mb": round(num_kv_bytes / 2**20, 1),
        "device_mb": None,
    }
    if device is not None and device.type == "cuda":
        import torch

        figures["device_mb"] = round(torch.cuda.memory_reserved(device) / 2**20, 1)
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()


def _anonymous_mb(status: Path = _STATUS) -> float | None:
    """Without pages of files, which processes share and the system may drop at any time; None
    where it does not tell."""
    try:
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    sizes = [line.split()[1] for line in lines if line.startswith("RssAnon:")]
    return round(int(sizes[0]) / 2**10, 1) if sizes else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
