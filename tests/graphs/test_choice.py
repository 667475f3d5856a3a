"""Which passes are static ones, by which kernels, and what the user is told."""

from __future__ import annotations

import argparse
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine import kernels
from engine.cli.serve import add_parser, engine_arguments, engine_config
from engine.decoding.forward import Forward, brought_to
from engine.errors import EngineError
from engine.graphs.choice import choose_passes, wants_plain_weights
from engine.graphs.ops import KERNELS, Ops, make_ops, parse_kernels
from engine.kernels.twins import rms_norm_twin
from engine.models.decoder import Decoder
from engine.models.linear import Linear
from engine.quantised.weight import QuantisedWeight
from tests.graphs.harness import VIEWS, assert_same_pass, choosable_of, runner_of
from tests.graphs.recorder import Recorder
from tests.models import checkpoints

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


def on_gpu(**facts: Any) -> Any:
    """What is asked of a decoder on a GPU before anything is made there."""
    return SimpleNamespace(device=CUDA, config=SimpleNamespace(head_dim=64), **facts)


def test_kernels_are_named_one_by_one() -> None:
    assert parse_kernels("all") == set(KERNELS)
    assert parse_kernels("none") == frozenset()
    assert parse_kernels("norm, attention") == {"norm", "attention"}
    for wrong in ("", "norm,", "everything", "norm,all"):
        with pytest.raises(EngineError, match="is not known: use all, none, or some of norm"):
            parse_kernels(wrong)


def test_a_kernel_that_is_not_named_is_its_twin() -> None:
    if kernels.problem(CPU) is not None:
        pytest.skip(str(kernels.problem(CPU)))
    twins = Ops()
    for name, part in (
        ("norm", "norm"),
        ("swiglu", "swiglu"),
        ("low_rank", "low_rank"),
        ("survey", "survey"),
        ("rope_store", "rope_store"),
        ("attention", "attend"),
    ):
        one, others = make_ops(frozenset({name})), make_ops(frozenset(KERNELS) - {name})
        changed = [each for each in vars_of(twins) if vars_of(one)[each] != vars_of(twins)[each]]
        assert changed == [part]
        assert vars_of(others)[part] == vars_of(twins)[part]
    assert twins.norm is rms_norm_twin
    assert make_ops(frozenset({"attention", "rope_store"})).fits_graphs
    assert not make_ops(frozenset(KERNELS) - {"attention"}).fits_graphs


def vars_of(ops: Ops) -> dict[str, Any]:
    return {name: getattr(ops, name) for name in Ops.__slots__ if name != "kernels"}


def test_a_cpu_has_static_passes_only_when_asked(decoder: Decoder) -> None:
    choosable = choosable_of(decoder)
    for graphs in ("auto", "off"):
        passes = choose_passes(decoder, choosable, graphs)  # type: ignore[arg-type]
        assert (passes.runner, passes.notes) == (None, ())
    passes = choose_passes(decoder, choosable, "on", "norm")
    assert passes.runner is not None
    assert passes.notes == ("Static passes run in plain torch: CUDA graphs need a GPU.",)
    assert [wants_plain_weights(each, CPU) for each in ("auto", "on", "off")] == [  # type: ignore[arg-type]
        False,
        True,
        False,
    ]
    assert not wants_plain_weights("on", CUDA)


def test_packed_weights_are_refused() -> None:
    decoder = checkpoints.load(checkpoints.TINY)
    if not decoder.layers[0].down.is_packed:
        pytest.skip("this CPU has no packed products")
    with pytest.raises(EngineError, match="--weights full"):
        choose_passes(decoder, choosable_of(decoder), "on")


@pytest.mark.parametrize(
    ("graphs", "names", "trouble", "told"),
    [
        ("off", "all", None, "asked for"),
        ("auto", "all", "No driver.", "No driver."),
        ("auto", "norm,attention", None, "switched off (rope_store)"),
        ("auto", "none", None, "switched off (attention, rope_store)"),
    ],
)
def test_why_a_gpu_runs_without_graphs(
    graphs: Any, names: str, trouble: str | None, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "problem", lambda device: trouble)
    passes = choose_passes(on_gpu(), None, graphs, names)  # type: ignore[arg-type]
    assert passes.runner is None
    (note,) = passes.notes
    assert told in note


def test_wishes_that_cannot_be_met_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "problem", lambda device: "No driver.")
    with pytest.raises(EngineError, match=r"cannot be used: No driver\."):
        choose_passes(on_gpu(), None, "on")  # type: ignore[arg-type]
    monkeypatch.setattr(kernels, "problem", lambda device: None)
    odd = on_gpu()
    odd.config.head_dim = 80
    with pytest.raises(EngineError, match="head_dim 80"):
        choose_passes(odd, None, "on")  # type: ignore[arg-type]
    with pytest.raises(EngineError, match="use auto, on or off"):
        choose_passes(odd, None, "yes")  # type: ignore[arg-type]
    with pytest.raises(EngineError, match="Kernel 'none' is not known"):
        choose_passes(odd, None, "off", "none,norm")  # type: ignore[arg-type]


def test_the_flags_are_handed_on_to_a_resident_engine() -> None:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    flags = ["--graphs=on", "--kernels=norm,attention"]
    args = parser.parse_args(["engine", "serve", *flags])
    config = engine_config(args)
    assert (config.graphs, config.kernels) == ("on", "norm,attention")
    assert engine_arguments(args) == flags
    assert engine_arguments(parser.parse_args(["engine", "serve"])) == []


def test_rounded_weights_go_through_the_same_pass(decoder: Decoder) -> None:
    for layer in decoder.layers:
        for name in ("qkv", "out", "gate_up", "down"):
            linear: Linear = getattr(layer, name)
            rounded = Linear(QuantisedWeight.of(linear.weight, "int8"), linear.bias, packed=False)
            rounded.adapter = linear.adapter  # type: ignore[assignment]
            setattr(layer, name, rounded)
    runner = runner_of(decoder, Ops(), Recorder())
    assert_same_pass(VIEWS["block"](decoder, 1, 6), 20, decoder, runner)


def test_a_forward_is_brought_to_a_device_with_all_its_parts(decoder: Decoder) -> None:
    meta = torch.device("meta")
    for name, make in VIEWS.items():
        forward = make(decoder, 1, 6)
        found: Forward = brought_to(forward, meta)
        parts = [found.ids, found.view, found.offsets]
        tensors = [each for each in parts if isinstance(each, torch.Tensor)]
        assert {each.device.type for each in tensors} == {"meta"}, name
        assert (found.kind, found.draft_adapter) == (forward.kind, forward.draft_adapter)
        assert brought_to(forward, CPU) is forward
