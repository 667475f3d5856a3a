"""`nemodiff lsp` as it is, except that the engine it starts knows its answers without a model.

Run as ``python serve_scripted.py [flags of nemodiff lsp]``; with ``engine serve`` in front it is
that engine. All between the editor and the model is real: start, socket, queue, kill, return.
"""

from __future__ import annotations

import sys
import time
import types
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
FORWARD_S = 0.02

# The lines that this engine knows; of several with the same beginning, each is an alternative.
LINES = (
    "self.counts[article] = self.counts[article] - quantity",
    "self.counts[article] -= quantity",
    "self.counts[article] = max(0, self.counts[article] - quantity)",
    "URL = f'http://{HOST}:{PORT}/'",
)


def continuations(prompt: str) -> list[str]:
    """What may follow the text before the cursor, best first."""
    line = prompt.rpartition("\n")[2].lstrip()
    return [known[len(line) :] for known in LINES if line and known.startswith(line)]


def serve_engine() -> int:
    from engine.messages.completion import Choice, Completion, CompletionRequest
    from tests.server.scripted_engine import NUM_PIECES, ScriptedEngine

    class KnowingEngine(ScriptedEngine):
        def _forward(self) -> None:
            time.sleep(FORWARD_S)
            self.num_forwards += 1

        def _pieces(self, prompt: str) -> list[str]:
            text = next(iter(continuations(prompt)), "")
            size = -(-len(text) // NUM_PIECES) or 1
            return [text[at : at + size] for at in range(0, max(1, len(text)), size)]

        def answer(
            self, request: CompletionRequest, text: str, why: str, forwards: int
        ) -> Completion:
            others = continuations(request.prompt)[1 : request.n] if why == "stop" else []
            made = super().answer(request, text, why, forwards)
            texts = [text, *others][: request.n]
            choices = tuple(
                Choice(i, each, made.choices[0].finish_reason) for i, each in enumerate(texts)
            )
            return type(made)(**{**_fields(made), "choices": choices})

    def load(config: object, report: Any) -> object:
        report("reading weights", 0.4)
        time.sleep(0.5)
        return KnowingEngine(model="scripted")

    # Before anything asks for the real one, which would import torch.
    stand_in: Any = types.ModuleType("engine.engine")
    stand_in.Engine = types.SimpleNamespace(load=load)
    sys.modules["engine.engine"] = stand_in
    from engine.cli.main import main as nemodiff

    return nemodiff(sys.argv[1:])


def _fields(made: Any) -> dict[str, Any]:
    return {name: getattr(made, name) for name in type(made).__dataclass_fields__}


def main() -> int:
    sys.path[:0] = [str(ROOT)]
    if sys.argv[1:3] == ["engine", "serve"]:
        return serve_engine()
    from engine.messages import launch
    from nemodiff_lsp.__main__ import main as serve

    launch._SERVE_COMMAND = (sys.executable, __file__, "engine", "serve")
    return serve(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
