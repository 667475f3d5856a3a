"""Case completion: whole requests through the engine, on holes of real code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from statistics import fmean
from typing import Any

from engine.bench.costs import Pass, Work
from engine.bench.peers import Peer, Sampler
from engine.bench.prompts import CodeHole
from engine.bench.rounds import Variant
from engine.bench.subject import Subject
from engine.bench.table import Line
from engine.bench.timing import Sample
from engine.engine import Engine
from engine.infill.hole import Hole
from engine.infill.route import choose_route
from engine.messages.completion import Completion, CompletionRequest, Mode

_WARMTHS = {"warm": True, "cold": False}


@dataclass(slots=True)
class Tally:
    """What the counted answers of one variant came to. lengths: of a peer's, in tokens, of which
    nothing else is known."""

    answers: list[Completion] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Means over the answers; tokens_per_forward is the quotient of the sums."""
        if self.lengths:
            return {"tokens": _mean(self.lengths)}
        facts = [answer.facts for answer in self.answers]
        forwards = sum(each.forwards for each in facts)
        return {
            "tokens": _mean([each.tokens for each in facts]),
            "forwards": _mean([each.forwards for each in facts]),
            "prefill_forwards": _mean([each.prefill_forwards for each in facts]),
            "cached_tokens": _mean([each.cached_tokens for each in facts]),
            "prompt_tokens": _mean([answer.prompt_tokens for answer in self.answers]),
            "tokens_per_forward": round(sum(each.tokens for each in facts) / max(1, forwards), 3),
        }


@dataclass(frozen=True, slots=True)
class Asked:
    """holes: one for each round, over and over. token_counts: at most so many tokens each.
    warmths: ``warm``, the prompt but its last token is known, and ``cold``, nothing is."""

    holes: Sequence[CodeHole]
    modes: Sequence[Mode]
    token_counts: Sequence[int]
    warmths: Sequence[str] = ("warm", "cold")


def completion_lines(
    subjects: Sequence[Subject], peers: Sequence[Peer], asked: Asked
) -> tuple[list[tuple[Line, Variant]], dict[str, Tally]]:
    """Lines, and by their names the tallies, which fill while the variants are timed."""
    made: list[tuple[Line, Variant]] = []
    tallies: dict[str, Tally] = {}
    for num, warmth, mode, subject in product(
        asked.token_counts, asked.warmths, asked.modes, subjects
    ):
        keys = {"path": subject.path, "mode": mode, "max_tokens": num, "prefix": warmth}
        name = f"{subject.path}: {mode} {num} tokens {warmth}"
        tally = tallies[name] = Tally()
        label = f"{subject.path} {mode}"
        line = Line(name, keys, f"{num} {warmth}", rate=subject.storage.rate, label=label)
        is_warm = _WARMTHS[warmth]
        made.append((line, _variant(name, subject, asked.holes, keys, tally, is_warm)))
    made += _peer_lines(subjects[0], peers, asked, tallies) if peers else []
    return made, tallies


def _peer_lines(
    subject: Subject, peers: Sequence[Peer], asked: Asked, tallies: dict[str, Tally]
) -> list[tuple[Line, Variant]]:
    """Peers write as many tokens as `ar` does on the same prompt, those of a healed word and the
    end among them, so that as much work is compared."""
    engine = _engine(subject)
    prompts = [prompt_ids(engine, hole) for hole in asked.holes]
    counts = {
        num: [max(1, ask(engine, hole, "ar", num).facts.tokens) for hole in asked.holes]
        for num in asked.token_counts
    }
    made: list[tuple[Line, Variant]] = []
    for num, warmth, peer in product(asked.token_counts, asked.warmths, peers):
        sample = peer.completion(prompts, counts[num], is_warm=_WARMTHS[warmth])
        if sample is not None:
            name = f"{peer.name}: {num} tokens {warmth}"
            keys = {"path": peer.name, "mode": "ar", "max_tokens": num, "prefix": warmth}
            line = Line(name, keys, group=f"{num} {warmth}", is_peer=True)
            tally = tallies[name] = Tally()
            made.append((line, Variant(name, _counted(sample, counts[num], tally))))
    return made


def _counted(sample: Sampler, counts: Sequence[int], tally: Tally) -> Sampler:
    def noted(number: int) -> Sample:
        # Round 0 is discarded.
        if number:
            tally.lengths.append(counts[number % len(counts)])
        return sample(number)

    return noted


def prompt_ids(engine: Engine, hole: CodeHole) -> list[int]:
    """The tokens that the engine prefills for `hole`."""
    asked = Hole(hole.prefix, hole.suffix)
    route = choose_route(
        "ar",
        asked,
        engine.decoder.config,
        has_draft_adapter=engine.decoder.has_draft_adapter,
        has_causal_adapter=engine.causal_adapter is not None,
    )
    return engine.prompts.build(asked, route, None, (), None).context


def _variant(
    name: str,
    subject: Subject,
    holes: Sequence[CodeHole],
    keys: dict[str, Any],
    tally: Tally,
    is_warm: bool,
) -> Variant:
    engine = _engine(subject)

    def sample(number: int) -> Sample:
        hole = holes[number % len(holes)]
        if is_warm and hole.document not in engine.prefix_cache.documents:
            ask(engine, hole, "ar", 1)
        answers: list[Completion] = []

        def run() -> None:
            mode, most = keys["mode"], keys["max_tokens"]
            answers.append(ask(engine, hole, mode, most, keeps=is_warm))

        found = subject.timed(run)
        # Round 0 is discarded.
        if number:
            tally.answers += answers
        return found

    return Variant(name, sample)


def ask(
    engine: Engine,
    hole: CodeHole,
    mode: Mode,
    max_tokens: int,
    *,
    keeps: bool = True,
    threshold: float | None = None,
) -> Completion:
    """Text is wanted in any case, and only the model's own end or the length ends it. keeps: the
    prompt's KV is kept, and what is known of it is used; threshold: of the confidence (None: the
    engine's)."""
    return engine.complete(
        CompletionRequest(
            prompt=hole.prefix,
            suffix=hole.suffix,
            mode=mode,
            max_tokens=max_tokens,
            document=hole.document if keeps else None,
            confidence_threshold=threshold,
            stop_rules=False,
            gate=False,
        )
    )


def completion_work(subject: Subject, tally: dict[str, Any]) -> Work:
    """The least for a completion like those of `tally`: its prompt's unread part in one pass, and
    each forward as a pass over one token."""
    unread = max(1, round(tally["prompt_tokens"] - tally["cached_tokens"]))
    first = subject.work(Pass(unread, round(tally["cached_tokens"]), head_rows=1))
    one = subject.work(Pass(1, round(tally["prompt_tokens"]), head_rows=1))
    return first + Work(one.num_bytes * tally["forwards"], one.flops * tally["forwards"])


def threshold_rows(
    subject: Subject,
    holes: Sequence[CodeHole],
    thresholds: Sequence[float],
    max_tokens: int,
) -> list[dict[str, Any]]:
    """Tokens per forward of the modes that a confidence threshold steers; counts, not times."""
    engine = _engine(subject)
    rows: list[dict[str, Any]] = []
    modes: tuple[Mode, ...] = ("diffusion", "linear_spec")
    for mode, threshold in product(modes, thresholds):
        tally = Tally()
        for hole in holes:
            tally.answers.append(ask(engine, hole, mode, max_tokens, threshold=threshold))
        rows.append({"path": subject.path, "mode": mode, "threshold": threshold, **tally.to_json()})
    return rows


def _engine(subject: Subject) -> Engine:
    assert subject.engine is not None
    return subject.engine


def _mean(values: Sequence[float]) -> float:
    return round(fmean(values), 3) if values else 0.0
