"""The peer llama.cpp, through llama-cpp-python in an interpreter of its own.

`llama_driver.py` runs there and talks in lines of JSON; it measures its own waiting time.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.bench.peers import PeerChoice, PeerMissing, Sampler
from engine.bench.timing import Sample

DRIVER = Path(__file__).with_name("llama_driver.py")
MAX_CACHED = 4096
"""It has to read what is to be cached, which takes minutes for long prefixes."""


# What tells OpenMP how to wait and with how many threads: right for torch, not for llama.cpp, whose
# passes take half as long again when its threads sleep between steps.
_OPENMP_PREFIXES = ("OMP_", "GOMP_", "KMP_")


def own_environment() -> dict[str, str]:
    """This process's, without what it has set for its own threads."""
    return {k: v for k, v in os.environ.items() if not k.startswith(_OPENMP_PREFIXES)}


def llama_name(gguf: Path, others: Sequence[Path]) -> str:
    """Short, but another one for each file: how it is quantised, else the whole name."""
    kinds = [file.stem.rpartition("-")[2] for file in others]
    kind = gguf.stem.rpartition("-")[2]
    return f"llama.cpp {kind if kinds.count(kind) < 2 else gguf.stem}"


class LlamaPeer:
    """Raises PeerMissing when the driver does not start."""

    def __init__(self, choice: PeerChoice, gguf: Path, num_threads: int) -> None:
        self.name = llama_name(gguf, choice.gguf_files)
        command = [str(choice.llama_python), "-I", str(DRIVER), str(gguf)]
        command += ["--threads", str(num_threads)]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=own_environment(),
            )
        except OSError as error:
            raise PeerMissing(f"left out: it cannot be started ({error.strerror}).") from None
        ready = self._answer()
        if "error" in ready:
            self.close()
            raise PeerMissing(f"left out: {ready['error']}")
        self.version = str(ready.get("version", "unknown"))

    def forward(self, block: int, cached: int) -> Sampler | None:
        if cached > MAX_CACHED:
            return None
        return self._sampler({"do": "forward", "block": block, "cached": cached})

    def prefill(self, length: int) -> Sampler:
        return self._sampler({"do": "prefill", "length": length})

    def completion(
        self, prompts: Sequence[Sequence[int]], counts: Sequence[int], *, is_warm: bool
    ) -> Sampler:
        def sample(number: int) -> Sample:
            at = number % len(prompts)
            return self._ask(
                {"do": "complete", "ids": list(prompts[at]), "num": counts[at], "warm": is_warm}
            )

        return sample

    def close(self) -> None:
        """The driver ends when its input does."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _sampler(self, asked: dict[str, Any]) -> Sampler:
        return lambda number: self._ask(asked)

    def _ask(self, asked: dict[str, Any]) -> Sample:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise PeerMissing(f"{self.name} has ended before its answer.") from None
        answer = self._answer()
        if "error" in answer:
            raise PeerMissing(f"{self.name} failed: {answer['error']}")
        return Sample(float(answer["ms"]), float(answer["waiting"]))

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        try:
            answer = json.loads(line)
        except ValueError:
            return {"error": "the interpreter given has no llama-cpp-python that runs."}
        return dict(answer)
