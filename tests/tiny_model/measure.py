"""What the tiny model can do on held-out text, measured with the slow reference modes.

`python -m tests.tiny_model.measure` prints the figures of the README; tests assert their floors.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch

from tests.reference import modes, network
from tests.tiny_model import CHECKPOINT, language

SUFFIX_HEAD_TOKENS = 6
MAX_BLOCK_SIZE = 32


def load_model() -> modes.Model:
    """The shipped checkpoint under the reference network."""
    return modes.Model(network.load(CHECKPOINT))


def determined_accuracy(model: modes.Model, num: int, seed: int = 11) -> float:
    """Share of determined next tokens (end tokens included) that a causal pass gets right."""
    hits = total = 0
    for case in language.continuations(seed, num):
        prompt, wanted = language.encode(case.prompt), wanted_tokens(case)
        choices = modes.best_tokens(model, modes.causal_logits(model, prompt + wanted[:-1]))
        hits += sum(a == b for a, b in zip(choices[len(prompt) - 1 :], wanted, strict=True))
        total += len(wanted)
    return hits / total


def wanted_tokens(case: language.Continuation) -> list[int]:
    """The continuation's tokens, closed by the end token where one is due."""
    return language.encode(case.text) + [language.END_TOKEN_ID] * case.is_end


def is_continued(model: modes.Model, case: language.Continuation) -> bool:
    """Whether greedy `ar` reproduces the continuation, its end included."""
    wanted = language.encode(case.text)
    out = modes.ar(model, language.encode(case.prompt), len(wanted) + case.is_end)
    return out.tokens == wanted and out.is_ended == case.is_end


def suffix_head(hole: language.Hole, num_middle: int) -> list[int]:
    """The first suffix tokens that fit into a block beside the seed and `num_middle` masks."""
    room = MAX_BLOCK_SIZE - 1 - num_middle
    return language.encode(hole.suffix)[: min(SUFFIX_HEAD_TOKENS, room)]


def is_filled(model: modes.Model, hole: language.Hole) -> tuple[bool, int]:
    """Whether block diffusion with the gold length finds the middle exactly, and its passes."""
    num = hole.num_middle_tokens
    prefix = language.encode(hole.prefix)
    middle, num_forwards = modes.infill(model, prefix, num, suffix_head(hole, num))
    return middle == language.encode(hole.middle), num_forwards


def ranked_lengths(
    model: modes.Model, hole: language.Hole, lengths: Sequence[int]
) -> list[tuple[float, list[int]]]:
    """Candidates of every length, best first: 0.5 mean log p(candidate) + 0.5 mean log p(suffix
    head | candidate) under one causal pass each (fim.md FIM-0, step 5)."""
    prefix = language.encode(hole.prefix)
    head = suffix_head(hole, max(lengths))
    ranked: list[tuple[float, list[int]]] = []
    for length in lengths:
        middle, _ = modes.infill(model, prefix, length, head)
        whole = [*prefix, *middle, *head]
        logprobs = modes.causal_logits(model, whole[:-1])[len(prefix) - 1 :].log_softmax(-1)
        scores = logprobs.gather(1, torch.tensor([*middle, *head])[:, None])[:, 0]
        score = 0.5 * scores[:length].mean() + 0.5 * scores[length:].mean()
        ranked.append((float(score), middle))
    return sorted(ranked, key=lambda pair: -pair[0])


def report_continuations(model: modes.Model, num: int) -> None:
    """Causal accuracy, greedy reproduction and the speculative modes."""
    print(f"determined next tokens right: {determined_accuracy(model, num):.2%}")
    cases = language.continuations(12, num)
    print(f"continuations reproduced: {sum(is_continued(model, c) for c in cases) / num:.1%}")
    prompts = [language.encode(case.prompt) for case in cases[: num // 4]]
    plain = [modes.ar(model, prompt, 64) for prompt in prompts]
    bare = modes.Model(network.Network(model.network.config, model.network.weights))
    for name, used, size in (
        ("linear_spec", model, 32),
        ("linear_spec", model, 16),
        ("linear_spec", model, 8),
        ("linear_spec without adapter", bare, 16),
        ("quad_spec", model, 8),
    ):
        decode = modes.quad_spec if name == "quad_spec" else modes.linear_spec
        outs = [decode(used, prompt, 64, block_size=size) for prompt in prompts]
        same = sum(a.tokens == b.tokens for a, b in zip(plain, outs, strict=True))
        cycles = [cycle for out in outs for cycle in out.emitted_per_cycle]
        rate = sum(cycles) / sum(out.num_forwards for out in outs)
        print(
            f"{name}, block {size}: {same}/{len(prompts)} equal to ar, "
            f"{sum(cycles) / len(cycles):.2f} tokens per cycle, {rate:.2f} per forward"
        )
    for size in (8, 16, 32):
        outs = [modes.diffusion(model, prompt, 64, block_size=size) for prompt in prompts]
        same = sum(a.tokens == b.tokens for a, b in zip(plain, outs, strict=True))
        rate = sum(len(o.tokens) for o in outs) / max(sum(o.num_forwards for o in outs), 1)
        print(f"diffusion, block {size}: {same}/{len(prompts)} equal to ar, {rate:.2f} per forward")


def report_holes(model: modes.Model, num: int) -> None:
    """Infilling with the gold length, then with the length searched."""
    holes = [hole for hole in language.holes(13, num) if hole.cut == "token"]
    for by_suffix in (False, True):
        chosen = [hole for hole in holes if hole.by_suffix == by_suffix]
        filled = [is_filled(model, hole) for hole in chosen]
        rate = sum(h.num_middle_tokens for h in chosen) / sum(n for _, n in filled)
        print(
            f"gold length, by_suffix={by_suffix}: {sum(ok for ok, _ in filled)}/{len(filled)} "
            f"exact, {rate:.2f} tokens per forward"
        )
    searched = holes[: num // 4]
    exact = right = 0
    for hole in searched:
        _, best = ranked_lengths(model, hole, range(1, 25))[0]
        right += len(best) == hole.num_middle_tokens
        exact += best == language.encode(hole.middle)
    print(f"lengths 1..24 ranked: {right}/{len(searched)} lengths right, {exact} middles exact")


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description="Measure the tiny model on held-out text.")
    parser.add_argument("--num", type=int, default=400)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with torch.inference_mode():
        model = load_model()
        report_continuations(model, options.num)
        report_holes(model, options.num)


if __name__ == "__main__":
    main()
