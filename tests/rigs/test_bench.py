"""The measurements measure: counts and sources are those of a run whose outcome is known."""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.messages.address import EngineAddress
from engine.messages.client import AsyncEngineClient
from engine.messages.completion import Completion, CompletionRequest
from engine.messages.errors import EngineUnavailable
from nemodiff_lsp.bench import engines, overhead, replay
from nemodiff_lsp.bench.comparison import VARIANTS, Plan, compare
from nemodiff_lsp.bench.engines import EngineChoice
from nemodiff_lsp.bench.figures import jain_index, percentile, slope
from nemodiff_lsp.bench.lsp_client import Reply
from nemodiff_lsp.bench.markdown import comparison_markdown
from nemodiff_lsp.bench.oracle import WRONG, Oracle
from nemodiff_lsp.bench.replay import Habits, Style
from nemodiff_lsp.bench.scripted_engine import ScriptedEngine, Speed, serving
from nemodiff_lsp.bench.tap import Tap
from nemodiff_lsp.bench.typing_trace import Edit, Sitting

SITTING = Sitting(
    "c",
    "shop/stock.py",
    "python",
    "def add(counts, article, quantity):\n    pass\n",
    (Edit(40, 4, "counts[article] = counts.get(article, 0) + quantity\n    return counts"),),
)
# Long enough that no answer is a draft, however busy the machine is.
SETTINGS = {"deadlineMs": 60_000, "invokedDeadlineMs": 60_000}


def plan(skill: float, *names: str, habits: Habits | None = None) -> Plan:
    return Plan(
        sittings=[SITTING],
        variants=[VARIANTS[name] for name in names],
        engine=EngineChoice(skill=skill, speed=Speed(0.0)),
        habits=habits or Habits(),
        settings=SETTINGS,
    )


async def figures_of(skill: float, *names: str, habits: Habits | None = None) -> dict[str, Any]:
    report = await compare(plan(skill, *names, habits=habits), lambda _: None)
    assert comparison_markdown(report).count("\n|") > 10
    variants: dict[str, Any] = report["variants"]
    return variants


async def test_a_model_that_knows_everything_is_accepted_and_saves_keys() -> None:
    variants = await figures_of(1.0, "full", "nothing")
    inserted = len(SITTING.edits[0].inserted)
    for figures in variants.values():
        assert figures["errors"] == figures["unanswered"] == 0
        assert figures["inserted_chars"] == inserted
        assert figures["accepted_chars"] > inserted // 2
        assert figures["keys"] < inserted // 2
        assert figures["asked"] == figures["keys"] == sum(figures["sources"].values())
        assert figures["forwards"] >= figures["sources"]["engine"]


async def test_when_time_is_up_all_variants_have_made_the_same_sittings() -> None:
    asked = replace(plan(1.0, "full", "nothing"), sittings=[SITTING] * 3, max_minutes=1e-9)
    report = await compare(asked, lambda _: None)
    assert report["num_sittings"] == 0
    assert [each["keys"] for each in report["variants"].values()] == [0, 0]
    assert comparison_markdown(report)


async def test_a_model_that_knows_little_saves_little() -> None:
    variants = await figures_of(0.0, "full")
    figures = variants["full"]
    assert figures["accepted_chars"] < figures["inserted_chars"]
    assert figures["keys"] > (await figures_of(1.0, "full"))["full"]["keys"]


async def test_without_kept_kv_every_request_is_read_anew() -> None:
    variants = await figures_of(0.5, "nothing")
    with_kv = VARIANTS["nothing"].settings
    assert with_kv["reuse"] is False
    # Each request costs a prefill and a forward at least.
    nothing = variants["nothing"]
    assert nothing["forwards"] >= 2 * nothing["engine_requests"]["interactive"]


async def test_a_fast_typist_overtakes_and_every_request_is_answered() -> None:
    report = await compare(
        Plan(
            sittings=[SITTING],
            variants=[VARIANTS["full"]],
            # One forward takes longer than the next key does.
            engine=EngineChoice(skill=0.0, speed=Speed(1_000.0)),
            # Keys that come within VS Code's own wait would ask nothing.
            habits=Habits(keys_per_s=12.0),
            settings=SETTINGS,
        ),
        lambda _: None,
    )
    figures = report["variants"]["full"]
    assert figures["sources"]["overtaken"] > 0
    assert figures["unanswered"] == figures["errors"] == 0
    assert figures["asked"] == sum(figures["sources"].values())


class Wire:
    """In place of LspClient: notes what is sent, and answers nothing before the end."""

    has_incremental_sync = True

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.asked: list[asyncio.Future[Reply]] = []

    def notify(self, method: str, params: object) -> None:
        self.sent.append(method.rpartition("/")[2])
        if method == "textDocument/didClose":
            for future in self.asked:
                future.set_result(Reply(None, None, 0.0))

    def ask(self, method: str, params: object) -> tuple[int, asyncio.Future[Reply]]:
        self.notify(method, params)
        self.asked.append(asyncio.get_running_loop().create_future())
        return len(self.asked), self.asked[-1]

    def cancel(self, msg_id: int) -> None:
        self.sent.append(f"cancel {msg_id}")


@pytest.mark.parametrize(
    ("style", "between"), [("vscode", ["cancel 1", "inlineCompletion"]), ("neovim", [])]
)
async def test_a_simulated_client_sends_what_the_real_one_does_in_its_order(
    monkeypatch: pytest.MonkeyPatch, style: Style, between: list[str]
) -> None:
    """VS Code tells the change, then cancels, then waits, then asks; Neovim waits for a pause."""
    monkeypatch.setitem(replay.WAIT_S, "vscode", 0.0)
    wire, log = Wire(), replay.Log()
    habits = Habits(style, keys_per_s=12.0)
    user = replay.User(wire, None, habits, log)  # type: ignore[arg-type]
    sitting = Sitting("c", "a.py", "python", "", (Edit(0, 0, "ab"),))
    await user.sit(sitting, "file:///a.py")
    first = ["inlineCompletion"] if style == "vscode" else []
    last = ["cancel 2"] if style == "vscode" else []
    assert wire.sent == ["didOpen", "didChange", *first, "didChange", *between, *last, "didClose"]


def test_the_command_writes_json_and_markdown(tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    command = [sys.executable, "-m", "engine", "bench", "lsp", "--sittings", "1"]
    command += ["--variants", "full", "--forward-ms", "0", "--out", str(out)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    report = json.loads(out.read_text(encoding="utf-8"))
    assert report["variants"]["full"]["keys"] > 0
    assert out.with_suffix(".md").read_text(encoding="utf-8") == run.stdout


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["lsp", "--variants", "none"], "variant"),
        (["lsp", "--trace", "/nowhere"], "cannot be read"),
        (["lsp", "--sittings", "1", "--variants", "full", "--out", "/nowhere/x.json"], "written"),
    ],
)
def test_wrong_arguments_are_one_sentence(arguments: list[str], word: str) -> None:
    command = [sys.executable, "-m", "engine", "bench", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 1
    assert word in run.stderr
    assert len(run.stderr.splitlines()) == 1


@asynccontextmanager
async def tapped(
    engine: ScriptedEngine, *, drops_document: bool = False
) -> AsyncIterator[tuple[Tap, AsyncEngineClient]]:
    with tempfile.TemporaryDirectory(prefix="nemodiff-") as folder:
        socket, engine_socket = Path(folder) / "tap.sock", Path(folder) / "engine.sock"
        async with (
            serving(engine, engine_socket),
            Tap(socket, engine_socket, drops_document=drops_document) as tap,
            AsyncEngineClient(EngineAddress(socket=socket)) as client,
        ):
            yield tap, client


async def test_the_tap_changes_nothing_and_sees_everything() -> None:
    oracle = Oracle(1.0)
    oracle.learn("x = compute()\n")
    engine = ScriptedEngine(oracle, Speed(0.0))
    async with tapped(engine) as (tap, client):
        assert (await client.health())["state"] == "ready"
        completion = await client.complete(CompletionRequest(prompt="x = ", document="d"))
        assert completion.choices[0].text == "compute()"
        request = CompletionRequest(prompt="x = c", document="d", priority="speculative")
        streamed = [item async for item in client.stream(request)]
        assert isinstance(streamed[-1], Completion)
        assert streamed[-1].choices[0].text == "ompute()"
        await tap.idle()
    seen = [(each.priority, each.forwards) for each in tap.seen]
    assert seen == [
        ("interactive", completion.facts.forwards),
        ("speculative", streamed[-1].facts.forwards),
    ]


async def test_hanging_up_at_the_tap_stops_the_engine() -> None:
    engine = ScriptedEngine(Oracle(1.0), Speed(3_600_000.0))
    async with tapped(engine) as (tap, client):
        work = asyncio.ensure_future(client.complete(CompletionRequest(prompt="x = ")))
        while engine.num_forwards == 0:
            await asyncio.sleep(0.01)
        work.cancel()
        await tap.idle()
        assert [each.forwards for each in tap.seen] == [None]
        # The turn is free again: the next request gets its forward.
        again = asyncio.ensure_future(client.complete(CompletionRequest(prompt="y = ")))
        while engine.num_forwards < 2:
            await asyncio.sleep(0.01)
        again.cancel()


@pytest.mark.parametrize(("drops_document", "num_prefills"), [(False, 0), (True, 8)])
async def test_a_dropped_document_is_read_anew(drops_document: bool, num_prefills: int) -> None:
    text = "value = compute(first, second)\n" * 60
    oracle = Oracle(1.0)
    oracle.learn(text + "x = 1\n")
    async with tapped(ScriptedEngine(oracle, Speed(0.0)), drops_document=drops_document) as (
        _,
        client,
    ):
        for typed in ("x", "x "):
            request = CompletionRequest(prompt=text + typed, document="d")
            facts = (await client.complete(request)).facts
    assert facts.prefill_forwards == pytest.approx(num_prefills, abs=1)


async def test_a_right_draft_saves_forwards_and_changes_nothing() -> None:
    oracle = Oracle(1.0)
    oracle.learn("x = compute_everything(first, second, third)\n")
    async with tapped(ScriptedEngine(oracle, Speed(0.0))) as (_, client):
        cold = await client.complete(CompletionRequest(prompt="x = "))
        text = cold.choices[0].text
        drafted = await client.complete(CompletionRequest(prompt="x = ", draft=text))
        wrong = await client.complete(CompletionRequest(prompt="x = ", draft="other"))
    assert drafted.choices[0].text == wrong.choices[0].text == text
    assert drafted.facts.forwards == 1 < wrong.facts.forwards == cold.facts.forwards


@given(st.integers(0, 60), st.floats(0, 1))
def test_the_oracle_is_consistent_from_key_to_key(num_typed: int, skill: float) -> None:
    """What it says after the user has typed some of its answer is the rest of that answer."""
    text = "def f(a):\n    total = a + 1\n    return total * 2\n"
    oracle = Oracle(skill)
    oracle.learn(text)
    answer = oracle.continuation(text[:num_typed])
    first, second = text[num_typed : num_typed + 1], text[num_typed + 1 : num_typed + 2]
    # At a line's end it goes on through the next line, so there it has more to say.
    if answer[:1] == first and "\n" not in (first, second) and answer not in ("", WRONG):
        assert oracle.continuation(text[: num_typed + 1]) == answer[1:]
    assert answer.endswith(WRONG) or text[min(num_typed, len(text)) :].startswith(answer)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_percentile(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert percentile([], share) is None


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=50))
def test_jain_index(values: list[int]) -> None:
    index = jain_index(values)
    assert 1 / len(values) - 1e-9 <= index <= 1 + 1e-9
    assert jain_index([7] * len(values)) == pytest.approx(1)
    assert jain_index([5, *[0] * 9]) == pytest.approx(0.1)


@given(st.floats(-50, 50), st.floats(-50, 50))
def test_slope_of_a_line(growth: float, start: float) -> None:
    times = [0.0, 1.0, 2.5, 4.0]
    found = slope(times, [start + growth * time for time in times])
    assert math.isclose(found, growth, abs_tol=1e-6)
    assert slope([1.0, 1.0], [2.0, 3.0]) == 0.0


async def test_the_overhead_is_that_of_keys_with_and_without_the_engine() -> None:
    figures = await overhead.measure(2, {})
    assert figures["change_and_request_with_engine_ms"]["num"] >= 2
    # A model that knows everything is asked once or twice a line; the rest is typed through.
    typed = figures["typed_through_ms"]["num"]
    assert typed > 5 * figures["change_and_request_with_engine_ms"]["num"]
    assert figures["engine_without_server_ms"]["num"] == 2
    assert figures["messages"] == []


async def test_the_real_engine_gets_what_is_asked_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    async def started(address: EngineAddress, arguments: list[str]) -> None:
        asked.append(arguments)
        raise EngineUnavailable("not here")

    monkeypatch.setattr(engines, "ensure_engine_async", started)
    for choice in (EngineChoice(False), EngineChoice(False, "small", "cpu", 7)):
        with pytest.raises(EngineUnavailable):
            async with engines.running_engine(choice):
                pass
    everything = ["--model", "small", "--device", "cpu", "--max-cache-bytes", "7"]
    assert asked == [[], everything]
