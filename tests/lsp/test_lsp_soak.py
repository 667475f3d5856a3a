"""Many documents and clients on one engine: a short soak. `nemodiff bench soak` runs a long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from nemodiff_lsp.bench.engines import EngineChoice
from nemodiff_lsp.bench.scripted_engine import Speed
from nemodiff_lsp.bench.soak import Load, soak
from nemodiff_lsp.bench.typing_trace import SHIPPED, read_trace

TINY_CHECKPOINT = Path(__file__).parents[1] / "tiny_model" / "checkpoint"


def load(engine: EngineChoice, minutes: float, num_servers: int) -> Load:
    return Load(
        minutes=minutes,
        num_clients=8,
        num_servers=num_servers,
        num_documents=24,
        engine=engine,
        sittings=read_trace(SHIPPED).sittings,
    )


async def test_a_short_soak_leaves_no_request_unanswered() -> None:
    engine = EngineChoice(speed=Speed(1.0))
    figures = await soak(load(engine, 0.1, 2), lambda _: None)
    assert figures["asked"] > 24
    assert figures["unanswered"] == figures["failed"] == figures["unexpected_answers"] == 0
    assert figures["answered"] + figures["refused_as_overload"] == figures["asked"]


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_soak_of_the_real_engine_is_fair_and_keeps_its_memory() -> None:
    engine = EngineChoice(is_scripted=False, model=str(TINY_CHECKPOINT))
    figures = await soak(load(engine, 2.0, 2), lambda _: None)
    assert figures["unanswered"] == figures["failed"] == figures["unexpected_answers"] == 0
    assert figures["asked"] > 24
    assert all(index > 0.8 for index in figures["fairness_jain"].values()), figures
    for name, memory in figures["memory"].items():
        # Two minutes tell no slope from noise; a leak per request would be far more than this.
        assert memory["grown_mib"] < 64, (name, figures)
