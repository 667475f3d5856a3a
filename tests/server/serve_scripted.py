"""An engine process with a ScriptedEngine in it: the real `serve`, only the model is not real.

Run by the tests as ``python serve_scripted.py --socket PATH [--host H --port P] [flags]``.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from pathlib import Path

from scripted_engine import ScriptedEngine

from engine.errors import EngineError
from engine.server.engine_thread import Report
from engine.server.serve import ListenOptions, serve


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log-level", default="INFO")
    parser.add_argument("--count-file", type=Path, help="gets one line per process started")
    parser.add_argument("--die", help="end with this sentence before listening")
    parser.add_argument("--fail-load", choices=("sentence", "surprise"))
    parser.add_argument("--hang-load", action="store_true")
    args = parser.parse_args()
    if args.count_file:
        with args.count_file.open("a") as file:
            file.write(f"{os.getpid()}\n")
    if args.die:
        print(args.die, file=sys.stderr)
        return 1

    def load(report: Report) -> ScriptedEngine:
        report("reading weights", 0.5)
        # What a library prints must not land in the place of the protocol.
        print("a library's chatter")
        if args.hang_load:
            threading.Event().wait()
        if args.fail_load == "sentence":
            raise EngineError("The file model.safetensors is truncated; pull the model again.")
        if args.fail_load == "surprise":
            raise RuntimeError("out of cheese\nmore of it")
        return ScriptedEngine()

    listen = ListenOptions(
        socket=args.socket, host=args.host, port=args.port, log_level=args.log_level
    )
    try:
        return serve(listen, load, model_names=("scripted",))
    except EngineError as error:
        # As the command line does it.
        print(f"nemodiff: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
