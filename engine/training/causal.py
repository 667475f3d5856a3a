"""The causal fill-in-the-middle adapter: next-token loss on the middle and on its end.

It restores what instruct tuning takes from a code model: to stop where the suffix takes over.
Merged into the weights at load, so it costs nothing at run time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from engine.training.examples import ExampleStream, FimExample
from engine.training.lora import LowRankSet
from engine.training.network import Network
from engine.training.objective import Metrics, clean_rows
from engine.weights.adapters import write_adapter


class CausalFim:
    """Objective over FimExamples.

    through_context: let gradients also flow through the keys and values of the given context. It
    costs 1.6 times as much; without it the context is still computed with the adapter.
    """

    export_name = "adapter"

    def __init__(
        self,
        network: Network,
        lora: LowRankSet,
        stream: ExampleStream,
        held_out: Sequence[FimExample],
        *,
        examples_per_step: int,
        max_rows: int = 2048,
        through_context: bool = False,
    ) -> None:
        self._network, self.lora, self._stream, self._held_out = network, lora, stream, held_out
        self._examples_per_step, self._max_rows = examples_per_step, max_rows
        self._through_context = through_context

    def parameters(self) -> Iterator[tuple[str, torch.Tensor]]:
        return self.lora.parameters()

    def accumulate(self) -> Metrics:
        examples = [self._stream.next() for _ in range(self._examples_per_step)]
        num_supervised = sum(each.num_middle_tokens for each in examples)
        total = 0.0
        for part in _split(examples, self._max_rows):
            losses, _ = self._losses(part)
            loss = losses.sum() / num_supervised
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return {
            "loss": total,
            "tokens": float(sum(len(each.tokens) for each in examples)),
            "supervised_tokens": float(num_supervised),
        }

    @torch.no_grad()
    def evaluate(self) -> Metrics:
        """loss per token; share of right tokens; how often the end is seen and is not imagined.

        end_recall: at the true end, the end token is the likeliest. early_end: before it, too.
        """
        loss = num_right = num_ends = num_early = 0.0
        num_tokens = sum(each.num_middle_tokens for each in self._held_out)
        for part in _split(self._held_out, self._max_rows):
            losses, best = self._losses(part)
            loss += float(losses.sum())
            at = 0
            for example in part:
                target = example.tokens[example.num_context_tokens :]
                found = best[at : at + len(target)].tolist()
                at += len(target)
                num_right += sum(a == b for a, b in zip(found, target, strict=True))
                num_ends += found[-1] == target[-1]
                num_early += sum(token == target[-1] for token in found[:-1])
        num_examples = len(self._held_out)
        return {
            "held_out_loss": loss / num_tokens,
            "token_accuracy": num_right / num_tokens,
            "end_recall": num_ends / num_examples,
            "early_end": num_early / max(1, num_tokens - num_examples),
        }

    def state(self) -> dict[str, Any]:
        return {"cursor": list(self._stream.cursor)}

    def restore(self, state: dict[str, Any]) -> None:
        epoch, at = state["cursor"]
        self._stream.cursor = (epoch, at)

    def export(self, folder: Path) -> None:
        write_adapter(folder, self.lora.export(torch.bfloat16))

    def _losses(self, examples: Sequence[FimExample]) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross entropy (M,) and argmax (M,) of all middle tokens, in order."""
        network = self._network
        # The last context token predicts the first middle token, so it belongs to the second part.
        splits = [each.num_context_tokens - 1 for each in examples]
        context = clean_rows(
            [each.tokens[:split] for each, split in zip(examples, splits, strict=True)],
            network.device,
        )
        middle = clean_rows(
            [each.tokens[split:-1] for each, split in zip(examples, splits, strict=True)],
            network.device,
            starts=splits,
        )
        with torch.set_grad_enabled(torch.is_grad_enabled() and self._through_context):
            _, memory = network.forward(context, self.lora)
        hidden, _ = network.forward(middle, self.lora, memory=memory)
        targets = [token for each in examples for token in each.tokens[each.num_context_tokens :]]
        logits = network.logits(hidden)
        wanted = torch.tensor(targets, device=network.device)
        return F.cross_entropy(logits, wanted, reduction="none"), logits.argmax(dim=-1)


def _split(examples: Sequence[FimExample], max_rows: int) -> Iterator[list[FimExample]]:
    """Neighbours whose tokens together stay within `max_rows` (one at least)."""
    part: list[FimExample] = []
    num_rows = 0
    for example in examples:
        if part and num_rows + len(example.tokens) > max_rows:
            yield part
            part, num_rows = [], 0
        part.append(example)
        num_rows += len(example.tokens)
    if part:
        yield part
