"""The language server end to end, as a part of `nemodiff bench all`.

It is measured by a program of its own, `nemodiff bench lsp`, since nothing here may import the
language server; this runs that program and takes its figures.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.bench.peers import PeerMissing
from engine.config import EngineConfig

_PROGRAM = ("-m", "nemodiff_lsp.bench")
_TIMEOUT_S = 900.0
# Ends the engine that it started.
_END_S = 20.0


@dataclass(frozen=True, slots=True)
class LspLoad:
    """sittings: of the trace of real edits, none begins after `minutes`; num_lines: typed into a
    large document, to tell what the server itself adds."""

    sittings: int
    minutes: float
    num_lines: int


def lsp_rows(
    common: EngineConfig, load: LspLoad, program: Sequence[str] = _PROGRAM
) -> list[dict[str, Any]]:
    """Rows of times in ms. Raises PeerMissing with a sentence where they cannot be had."""
    engine = ["--engine", "real", "--model", common.model, "--device", common.device]
    typed = ["--sittings", str(load.sittings), "--minutes", str(load.minutes)]
    trace = _figures([*program, "lsp", "--variants", "full", *engine, *typed])
    rows = ["--rounds", str(load.num_lines)]
    added = _figures([*program, "lsp", "--case", "overhead", *rows])
    full = trace["variants"]["full"]
    return [
        _row("keystroke to reply, real engine", full["latency_ms"]),
        _row("of these with text", full["latency_with_text_ms"]),
        _row("answered without a forward", full["latency_without_forward_ms"]),
        _row(
            "20,000 lines, engine that answers at once", added["change_and_request_with_engine_ms"]
        ),
        _row("that engine without a server", added["engine_without_server_ms"]),
        _row("typed through an offer", added["typed_through_ms"]),
    ]


def _row(what: str, times: Mapping[str, Any]) -> dict[str, Any]:
    percentiles = {f"{name}_ms": times[name] for name in ("p50", "p90", "p99")}
    return {"what": what, **percentiles, "num": times["num"]}


def _figures(arguments: Sequence[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="nemodiff-bench-") as folder:
        out = Path(folder) / "figures.json"
        told = _run([sys.executable, *arguments, "--out", str(out)])
        try:
            return dict(json.loads(out.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            reason = (told.strip().splitlines() or ["no reason given"])[-1]
            raise PeerMissing(f"left out: {reason}") from None


def _run(command: Sequence[str]) -> str:
    """What it says on stderr. However this is left, the program has ended, and in order: engines
    that it has started end with it."""
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        return process.communicate(timeout=_TIMEOUT_S)[1]
    except subprocess.TimeoutExpired:
        raise PeerMissing("left out: it took more than a quarter of an hour.") from None
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stderr is not None:
            process.stderr.close()
