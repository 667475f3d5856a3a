"""`nemodiff complete --in-process` with the default model; slow, skipped without the model."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config import DEFAULT_MODEL
from engine.weights import store

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.mark.slow
@pytest.mark.skipif(
    store.find(DEFAULT_MODEL) is None,
    reason=f"{DEFAULT_MODEL} is not in the cache (run `nemodiff models pull`)",
)
def test_a_real_hole_is_filled_in_process(nemodiff: Run, tmp_path: Path) -> None:
    source = b"def add(a, b):\r\n    return \r\n\r\nprint(add(1, 2))\r\n"
    (tmp_path / "a.py").write_bytes(source)
    cursor = ("--line", "2", "--column", "11", "--max-tokens", "16")
    cache = os.environ.get("NEMODIFF_CACHE", str(store.cache_folder()))
    result = nemodiff("complete", "a.py", *cursor, "--in-process", "--json", NEMODIFF_CACHE=cache)
    assert result.returncode == 0, result.stderr.decode()
    body = json.loads(result.stdout)
    assert body["text"] == "a + b"
    assert body["model"] == DEFAULT_MODEL
    assert body["tokens"] > 0 and body["forwards"] > 0
    assert body["timings_ms"]["total"] > 0
