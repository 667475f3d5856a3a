"""`nemodiff lsp` as it is, except that the engine it starts knows its answers without a model.

Run as ``python serve_scripted.py [flags of nemodiff lsp]``; with ``engine serve`` in front it is
that engine. All between the editor and the model is real: start, socket, queue, kill, return.
"""

from __future__ import annotations

import sys
import time
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
FORWARD_S, SLOW_FORWARD_S = 0.02, 0.4

# The lines that this engine knows; of several with the same beginning, each is an alternative.
LINES = (
    "self.counts[article] = self.counts[article] - quantity",
    "self.counts[article] -= quantity",
    "self.counts[article] = max(0, self.counts[article] - quantity)",
    "URL = f'http://{HOST}:{PORT}/'",
    "slowly = self.counts.copy()",
)
CALL = "print("
SLOW = "slowly"
"""A line with this word takes seconds; one that is a call so far calls the newest function."""

# The bodies of functions, by their names, and what is wrong with a selection.
BODIES = {"double": "return number * 2", "halve": "return number // 2"}
WRONG, RIGHT = "quanity", "quantity"


def continuations(prompt: str) -> list[str]:
    """What may follow the text before the cursor, best first."""
    line = prompt.rpartition("\n")[2].lstrip()
    if line == CALL:
        # Of the function that was defined last, wherever that was.
        return [prompt.rpartition("def ")[2].partition("(")[0] + "())"]
    return [known[len(line) :] for known in LINES if line and known.startswith(line)]


def body_after(text: str) -> str:
    """What the function that `text` ends in does."""
    name = text.rpartition("def ")[2].partition("(")[0]
    return BODIES.get(name, "")


def finished(request: object, empty: Any) -> Any:
    """The answer to a fill or a repair, made of the empty one; any other as it is."""
    from engine.messages.fill import FillRequest
    from engine.messages.repair import RepairRequest

    if isinstance(request, FillRequest):
        texts = tuple(body_after(piece) for piece in request.pieces[:-1])
        return replace(empty, texts=texts, finish_reasons=("stop",) * len(texts))
    if isinstance(request, RepairRequest):
        return replace(empty, text=request.text.replace(WRONG, RIGHT), finish_reason="stop")
    return empty


def load(engine: Any, report: Any) -> Any:
    """`engine`, as if it had had to be loaded: as long as the tests hold it, half a second else."""
    report("reading weights", 0.4)
    time.sleep(0.5)
    hold = Path(sys.argv[sys.argv.index("--socket") + 1]).with_name("hold")
    while hold.exists():
        time.sleep(0.05)
    return engine


def serve_engine() -> int:
    from engine.messages.completion import Choice, Completion, CompletionRequest
    from tests.server.scripted_engine import NUM_PIECES, ScriptedEngine, ScriptedWork

    class KnowingWork(ScriptedWork):
        """Holes and repairs get answers of their own; completions are as they were."""

        def _end(self, why: str) -> None:
            super()._end(why)
            self.result = finished(self._request, self.result)

    class KnowingEngine(ScriptedEngine):
        def begin(self, request: Any, **how: Any) -> ScriptedWork:
            work = super().begin(request, **how)
            # Made by the engine for tests of the server, which knows nothing of answers.
            work.__class__ = KnowingWork
            return work

        def run(self, runs: Any, /) -> None:
            if any(SLOW in work.name.rpartition("\n")[2] for work in runs):
                time.sleep(SLOW_FORWARD_S)
            super().run(runs)

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
            return replace(made, choices=choices)

    # Before anything asks for the real one, which would import torch.
    stand_in: Any = types.ModuleType("engine.engine")
    stand_in.Engine = types.SimpleNamespace(
        load=lambda config, report: load(KnowingEngine(model="scripted"), report)
    )
    sys.modules["engine.engine"] = stand_in
    from engine.cli.main import main as nemodiff

    return nemodiff(sys.argv[1:])


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
