"""Whether an engine's passes run as CUDA graphs, by which kernels, and why."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch

from engine import kernels
from engine.errors import EngineError
from engine.graphs.backends import CudaGraphs, EagerBackend
from engine.graphs.ops import NEEDED_FOR_GRAPHS, Ops, make_ops, parse_kernels
from engine.graphs.runner import MAX_CACHED_TOKENS, MAX_TOKENS, GraphRunner
from engine.models.config import ModelConfig
from engine.models.decoder import Decoder
from engine.models.survey import Choosable

Graphs = Literal["auto", "on", "off"]


class Passes(NamedTuple):
    """runner: None = every pass is a `run_forward`. note: how passes are done, and why. warms_up:
    whether the runner captures graphs, some of them best before the first request."""

    runner: GraphRunner | None
    note: str | None
    warms_up: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know: `note`, or why the runner has given up since."""
        given_up = None if self.runner is None else self.runner.problem
        told = given_up or self.note
        return () if told is None else (told,)


def wants_plain_weights(graphs: Graphs, device: torch.device) -> bool:
    """Whether the linear layers must not be packed for a CPU's own kernels."""
    return graphs == "on" and device.type == "cpu"


def choose_passes(
    decoder: Decoder, choosable: Choosable, graphs: Graphs = "auto", kernel_names: str = "all"
) -> Passes:
    """graphs, kernel_names: as in EngineConfig. Raises EngineError when an explicit wish cannot be
    met."""
    if graphs not in ("auto", "on", "off"):
        raise EngineError(f"Graphs {graphs!r} are not known: use auto, on or off.")
    names = parse_kernels(kernel_names)
    if decoder.device.type != "cuda":
        return _on_cpu(decoder, choosable, graphs)
    if graphs == "off":
        return Passes(None, "Passes run without CUDA graphs: asked for.")
    reason = _problem(decoder, names)
    if reason is None:
        runner = _runner(decoder, choosable, make_ops(names), eager=False)
        note = f"Passes run as CUDA graphs; kernels: {_listed(names)}."
        return Passes(runner, note, warms_up=True)
    if graphs == "auto":
        return Passes(None, f"Passes run without CUDA graphs: {reason}")
    if names >= NEEDED_FOR_GRAPHS:
        raise EngineError(f"CUDA graphs were asked for, but cannot be used: {reason}")
    usable = kernels.problem(decoder.device) is None
    ops = make_ops(names if usable else frozenset())
    runner = _runner(decoder, choosable, ops, eager=True)
    return Passes(runner, f"Static passes run without CUDA graphs: {reason}")


def _on_cpu(decoder: Decoder, choosable: Choosable, graphs: Graphs) -> Passes:
    if graphs != "on":
        # Nobody expects any.
        return Passes(None, None)
    if any(layer.down.is_packed for layer in decoder.layers):
        raise EngineError(
            "Static passes on a CPU need weights as torch knows them: ask for --weights full, or "
            "leave --graphs on away."
        )
    # Never the kernels: in the interpreter they take seconds where torch takes milliseconds.
    runner = _runner(decoder, choosable, Ops(), eager=True)
    return Passes(runner, "Static passes run in plain torch: CUDA graphs need a GPU.")


def _problem(decoder: Decoder, names: frozenset[str]) -> str | None:
    """Why no CUDA graph can hold a pass; None when one can."""
    missing = NEEDED_FOR_GRAPHS - names
    if missing:
        return f"kernels that they need are switched off ({', '.join(sorted(missing))})."
    return kernels.problem(decoder.device) or _shape_problem(decoder.config)


def _shape_problem(c: ModelConfig) -> str | None:
    if c.head_dim < 16 or c.head_dim & (c.head_dim - 1):
        return f"the model's head_dim {c.head_dim} is no power of two from 16 on."
    return None


def _runner(decoder: Decoder, choosable: Choosable, ops: Ops, *, eager: bool) -> GraphRunner:
    backend = EagerBackend(decoder.device) if eager else CudaGraphs(decoder.device)
    # What is captured reads the tables where they are now, so they should never have to grow.
    longest = min(decoder.config.max_positions, MAX_CACHED_TOKENS) + MAX_TOKENS
    return GraphRunner(decoder, ops, choosable, backend, num_positions=longest)


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))
