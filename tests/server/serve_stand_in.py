"""`nemodiff` as it is, command line and server and all, with a ScriptedEngine in place of a model.

Run by the tests of the engine's life as ``python serve_stand_in.py engine serve [flags]``. What it
does besides is said by the environment, since its flags are those of the real program.
"""

from __future__ import annotations

import os
import sys
import time
import types
from pathlib import Path
from typing import Any

COUNT_FILE = "NEMODIFF_TEST_COUNT_FILE"
"""Gets the process id of each engine that begins to load."""
LOAD_GATE = "NEMODIFF_TEST_LOAD_GATE"
"""The load reports 40 % of its weights and goes on when this file exists."""
LOAD_MS = "NEMODIFF_TEST_LOAD_MS"
"""How long the load takes besides, in twenty steps."""
FORWARD_MS = "NEMODIFF_TEST_FORWARD_MS"
"""How long each forward takes."""
PROTOCOL = "NEMODIFF_TEST_PROTOCOL"
"""The protocol number that this engine tells, in place of its own."""

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    sys.path[:0] = [str(ROOT)]
    from engine.messages import address

    address.PROTOCOL_VERSION = int(os.environ.get(PROTOCOL) or address.PROTOCOL_VERSION)
    # Before anything asks for the real one, which would import torch.
    stand_in: Any = types.ModuleType("engine.engine")
    stand_in.Engine = types.SimpleNamespace(load=load)
    sys.modules["engine.engine"] = stand_in
    from engine.cli.main import main as nemodiff

    return nemodiff(sys.argv[1:])


def load(config: object, report: Any) -> object:
    from tests.server.scripted_engine import ScriptedEngine

    forward_s = float(os.environ.get(FORWARD_MS, "0")) / 1e3

    class SlowEngine(ScriptedEngine):
        def _forward(self) -> None:
            time.sleep(forward_s)
            self.num_forwards += 1

    if count_file := os.environ.get(COUNT_FILE):
        with Path(count_file).open("a") as file:
            file.write(f"{os.getpid()}\n")
    report("reading weights", 0.4)
    if gate := os.environ.get(LOAD_GATE):
        while not Path(gate).exists():
            time.sleep(0.01)
            report("reading weights", 0.4)
    step_s = float(os.environ.get(LOAD_MS, "0")) / 1e3 / 20
    for step in range(20):
        report("reading weights", 0.4 + step / 40)
        time.sleep(step_s)
    return SlowEngine()


if __name__ == "__main__":
    sys.exit(main())
