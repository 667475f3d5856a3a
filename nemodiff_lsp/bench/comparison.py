"""The trace typed into the server as it is, and into servers that lack one of its savings each.

`nemodiff bench lsp`; called by `__main__.py`. Every variant has a server and an engine of its own,
so that none profits from another's work, and all take turns sitting by sitting, so that whatever
else the machine does meets them alike.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nemodiff_lsp.bench.engines import EngineChoice, RunningEngine, running_engine
from nemodiff_lsp.bench.figures import ratio, spread
from nemodiff_lsp.bench.lsp_client import Launch, LspClient
from nemodiff_lsp.bench.replay import CLIENT_NAMES, Habits, Log, User
from nemodiff_lsp.bench.tap import Tap
from nemodiff_lsp.bench.typing_trace import Sitting

Report = Callable[[str], None]

# The user in the trace asks as fast as answers come; the bound for real typists would only add
# waiting to every figure.
_UNBOUNDED = {"maxRequestsPerSecond": 1000}


@dataclass(frozen=True, slots=True)
class Variant:
    """A server to compare. settings: of the server; keeps_kv: whether its engine knows documents.

    Without a document's id the engine keeps nothing of a prompt for the next one.
    """

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    keeps_kv: bool = True


_OFF: dict[str, dict[str, Any]] = {
    "reuse": {"reuse": False},
    "speculation": {"speculativeStart": False},
    "prefetch": {"prefetch": False},
}
VARIANTS: dict[str, Variant] = {
    "full": Variant("full"),
    "no-reuse": Variant("no-reuse", _OFF["reuse"]),
    "no-anchoring": Variant("no-anchoring", keeps_kv=False),
    "no-prefetch": Variant("no-prefetch", _OFF["prefetch"]),
    "no-speculation": Variant("no-speculation", _OFF["speculation"]),
    "nothing": Variant(
        "nothing", _OFF["reuse"] | _OFF["speculation"] | _OFF["prefetch"], keeps_kv=False
    ),
}
"""The server as it is comes first; the others are compared with it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is compared. settings: for every variant, over its defaults. max_minutes: no sitting
    begins after this time; all variants make the same ones in any case."""

    sittings: Sequence[Sitting]
    variants: Sequence[Variant]
    engine: EngineChoice
    habits: Habits
    max_minutes: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _Running:
    variant: Variant
    client: LspClient
    tap: Tap
    engine: RunningEngine
    log: Log


async def compare(plan: Plan, report: Report) -> dict[str, Any]:
    """Type the whole trace into every variant; the figures. Raises EngineError."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(_folder())
        running = []
        for variant in plan.variants:
            report(f"starting {variant.name}")
            started = _started(plan, variant, folder)
            running.append(await stack.enter_async_context(started))
        end_s = time.monotonic() + 60.0 * (plan.max_minutes or float("inf"))
        num_made = 0
        for index, sitting in enumerate(plan.sittings):
            if time.monotonic() >= end_s:
                break
            # Another one begins each time: whoever comes first meets colder caches of the machine.
            turn = index % len(running)
            for each in running[turn:] + running[:turn]:
                report(f"sitting {index + 1} of {len(plan.sittings)}: {each.variant.name}")
                await _sit(plan, each, sitting, folder / "project" / str(index))
            num_made += 1
        return {
            "engine": running[0].engine.description,
            "style": plan.habits.style,
            "keys_per_s": plan.habits.keys_per_s,
            "num_sittings": num_made,
            "variants": {each.variant.name: await _figures(each) for each in running},
        }


async def _sit(plan: Plan, running: _Running, sitting: Sitting, folder: Path) -> None:
    running.engine.oracle.learn(sitting.result())
    user = User(running.client, running.tap, plan.habits, running.log)
    await user.sit(sitting, (folder / sitting.path).as_uri())
    # Background work of this variant must not slow the next one down.
    await running.tap.idle()


@contextlib.contextmanager
def _folder() -> Any:
    with tempfile.TemporaryDirectory(prefix="nemodiff-bench-") as name:
        (Path(name) / "project").mkdir()
        yield Path(name).resolve()


@asynccontextmanager
async def _started(plan: Plan, variant: Variant, folder: Path) -> AsyncIterator[_Running]:
    """Engine, tap and server of one variant."""
    socket = folder / f"{variant.name}.sock"
    async with running_engine(plan.engine) as engine:
        tap = Tap(socket, engine.socket, drops_document=not variant.keeps_kv)
        arguments = ["--engine-socket", str(socket), "--no-engine-start"]
        # Nothing of the user's own settings and statistics has a part in this.
        own = {f"XDG_{kind}_HOME": str(folder / variant.name) for kind in ("CONFIG", "STATE")}
        async with tap, await LspClient.start(Launch(arguments, own)) as client:
            options = {**_UNBOUNDED, **plan.settings, **variant.settings}
            name = CLIENT_NAMES[plan.habits.style]
            await client.initialize(name, (folder / "project").as_uri(), options)
            yield _Running(variant, client, tap, engine, Log())


async def _figures(running: _Running) -> dict[str, Any]:
    log, seen = running.log, running.tap.seen
    answered = [each for each in log.outcomes if each.source != "overtaken"]
    with_text = [each for each in answered if each.has_text]
    free = [each for each in with_text if each.source == "without"]
    num_forwards = await running.engine.num_forwards()
    speculative = [each for each in seen if each.priority == "speculative"]
    return {
        "keys": log.num_keys,
        "asked": len(log.outcomes),
        "errors": log.num_errors,
        "unanswered": running.client.num_unanswered,
        "sources": {
            "engine": sum(each.source == "engine" for each in answered),
            "speculation": sum(each.source == "speculation" for each in answered),
            "without_forward": len(free),
            "nothing_to_show": sum(e.source == "without" and not e.has_text for e in answered),
            "overtaken": len(log.outcomes) - len(answered),
        },
        "share_without_forward": ratio(len(free), len(log.outcomes)),
        "share_of_texts_without_forward": ratio(len(free), len(with_text)),
        "share_with_text": ratio(len(with_text), len(log.outcomes)),
        "latency_ms": spread([each.latency_ms for each in answered]),
        "latency_with_text_ms": spread([each.latency_ms for each in with_text]),
        "latency_without_forward_ms": spread([each.latency_ms for each in free]),
        "inserted_chars": log.num_inserted_chars,
        "accepted_chars": log.num_accepted_chars,
        "accepted_offers": log.num_accepted,
        "share_accepted_chars": ratio(log.num_accepted_chars, log.num_inserted_chars),
        "engine_requests": {
            "interactive": len(seen) - len(speculative),
            "speculative": len(speculative),
            "given_up": sum(each.forwards is None for each in seen),
        },
        "forwards": num_forwards,
        "forwards_per_key": ratio(num_forwards, log.num_keys),
        "forwards_per_accepted_char": ratio(num_forwards, log.num_accepted_chars),
        "messages": running.client.notes,
    }
