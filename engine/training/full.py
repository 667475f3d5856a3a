"""Full conversion: an autoregressive model becomes a block-diffusion model, all weights trained.

The recipe of Nemotron-Labs-Diffusion (arXiv 2607.05722), in its same-position form: loss
L_AR + alpha * L_diff over a clean and a noisy stream, gradients through both, so that the model
keeps its causal mode while its masks learn to predict the token at their own place.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from engine.training.full_noise import FullOptions, Noised, add_noise
from engine.training.leaves import Leaves
from engine.training.network import Memory, Network
from engine.training.noise import IGNORED, Block, BlockMaker, noisy_rows
from engine.training.objective import Metrics, TokenStream, clean_rows
from engine.weights.checkpoint_writer import write_checkpoint

_HELD_OUT_SEED = 7
# Held-out drafts start at every fourth token: neighbours say nearly the same.
_ANCHOR_STRIDE = 4


class FullConversion:
    """Objective over the token sequences of `stream`, with `held_out` ones to judge by.

    The network's config becomes same-position logits and adapter scope ``block``, its weights fp32
    leaves. tokenizer_folder: whose tokenizer the exported checkpoint gets. max_rows: clean and
    noisy rows of one pass; a step takes as many passes as its sequences need.
    """

    export_name = "checkpoint"

    def __init__(
        self,
        network: Network,
        stream: TokenStream,
        held_out: Sequence[list[int]],
        options: FullOptions,
        *,
        tokenizer_folder: Path,
        sequences_per_step: int,
        seed: int,
        max_rows: int = 4096,
    ) -> None:
        network.config = replace(
            network.config,
            alignment="same_position",
            adapter_scope="block",
            block_size=options.block_size or network.config.block_size,
        )
        self._network, self._stream, self._held_out = network, stream, held_out
        self._options, self._tokenizer_folder = options, tokenizer_folder
        self._sequences_per_step, self._seed, self._max_rows = sequences_per_step, seed, max_rows
        self.leaves = Leaves(network)
        self._num_steps = 0

    def parameters(self) -> Iterator[tuple[str, torch.Tensor]]:
        return iter(self.leaves)

    def accumulate(self) -> Metrics:
        rng = random.Random(f"{self._seed}/{self._num_steps}")
        self._num_steps += 1
        sequences = [self._stream.next_tokens() for _ in range(self._sequences_per_step)]
        return self.accumulate_batch(
            [add_noise(each, self._network.config, self._options, rng) for each in sequences]
        )

    def accumulate_batch(self, batch: Sequence[Noised]) -> Metrics:
        """Add the gradients of `batch`, in however many passes it is computed.

        Global loss averaging: one division by all counted tokens of the batch.
        """
        metrics = self._judge(batch)
        num_tokens = sum(len(each.tokens) for each in batch)
        num_masks = sum(each.num_masks for each in batch)
        return {**metrics, "tokens": float(num_tokens), "mask_tokens": float(num_masks)}

    @torch.no_grad()
    def evaluate(self) -> Metrics:
        """The losses and accuracies under the same noise each time, and the drafts' acceptance.

        accepted_drafts: leading masks whose token is the causal model's choice, per draft block,
        counted up to where the text leaves that model's path: a lower bound of what linear_spec
        accepts. tokens_per_cycle: these and the token that verification adds.
        """
        rng = random.Random(_HELD_OUT_SEED)
        batch = [
            add_noise(tokens, self._network.config, self._options, rng) for tokens in self._held_out
        ]
        figures = {f"held_out_{name}": value for name, value in self._judge(batch).items()}
        accepted = num_blocks = 0
        for tokens in self._held_out:
            counts = self._accepted(tokens)
            accepted, num_blocks = accepted + sum(counts), num_blocks + len(counts)
        mean = accepted / max(1, num_blocks)
        return {**figures, "accepted_drafts": mean, "tokens_per_cycle": 1 + mean}

    def state(self) -> dict[str, Any]:
        return {"cursor": list(self._stream.cursor), "num_steps": self._num_steps}

    def restore(self, state: dict[str, Any]) -> None:
        self._num_steps = state["num_steps"]
        epoch, at = state["cursor"]
        self._stream.cursor = (epoch, at)

    def export(self, folder: Path) -> None:
        write_checkpoint(
            folder,
            self._network.config,
            self.leaves.canonical(),
            tokenizer_folder=self._tokenizer_folder,
            mask_embedding=self.leaves.mask_embedding,
        )

    def _judge(self, batch: Sequence[Noised]) -> Metrics:
        """loss, the plain means of its two cross entropies, and both accuracies; adds gradients
        where they are wanted."""
        num_labels = sum(each.num_labels for each in batch)
        num_masks = sum(each.num_masks for each in batch)
        names = ("loss", "ar_loss", "mask_loss", "token_accuracy", "mask_accuracy")
        figures = dict.fromkeys(names, 0.0)
        for part in _split(batch, self._max_rows):
            labels, memory = self._clean(part)
            masks, weights = self._noisy(part, memory)
            weighted = self._options.alpha * (masks.losses * weights).sum()
            loss = (labels.losses.sum() + weighted) / (num_labels + num_masks)
            if torch.is_grad_enabled():
                loss.backward()  # type: ignore[no-untyped-call]
            figures["loss"] += float(loss.detach())
            figures["ar_loss"] += float(labels.losses.detach().sum()) / num_labels
            figures["token_accuracy"] += float(labels.is_right.sum()) / num_labels
            figures["mask_loss"] += float(masks.losses.detach().sum()) / max(1, num_masks)
            figures["mask_accuracy"] += float(masks.is_right.sum()) / max(1, num_masks)
        return figures

    def _clean(self, part: Sequence[Noised]) -> tuple[_Predicted, Memory]:
        """The causal stream: each token from those before it."""
        network = self._network
        hidden, memory = network.forward(clean_rows([each.tokens for each in part], network.device))
        targets: list[int] = []
        for each in part:
            targets += [*each.tokens[1:], IGNORED]
        return self._predict(hidden, targets), memory

    def _noisy(self, part: Sequence[Noised], memory: Memory) -> tuple[_Predicted, torch.Tensor]:
        """The noisy stream: each masked token from its block and the clean tokens before that;
        and the weights."""
        network = self._network
        blocks = [(document, block) for document, each in enumerate(part) for block in each.blocks]
        if not blocks:
            nothing = torch.zeros(0, device=network.device)
            return _Predicted(nothing, nothing), nothing
        rows = noisy_rows(blocks, network.config, network.device)
        hidden, _ = network.forward(rows, memory=memory)
        targets, weights = [], []
        for _, block in blocks:
            targets += block.targets
            weights += [
                weight
                for target, weight in zip(block.targets, block.weights, strict=True)
                if target != IGNORED
            ]
        return self._predict(hidden, targets), torch.tensor(weights, device=network.device)

    def _predict(self, hidden: torch.Tensor, targets: Sequence[int]) -> _Predicted:
        """Of the rows that have a target."""
        wanted = torch.tensor(targets, device=hidden.device)
        counted = wanted != IGNORED
        logits, wanted = self._network.logits(hidden[counted]), wanted[counted]
        is_right = logits.detach().argmax(dim=-1) == wanted
        return _Predicted(F.cross_entropy(logits, wanted, reduction="none"), is_right)

    def _accepted(self, tokens: list[int]) -> list[int]:
        """Accepted drafts of each held-out draft block of `tokens`."""
        network, size = self._network, self._network.config.block_size
        maker = BlockMaker(network.config, IGNORED, IGNORED)
        blocks = [
            (0, block)
            for at in range(0, len(tokens), _ANCHOR_STRIDE)
            if (block := maker.draft(tokens, at, size - 1)) is not None
        ]
        if not blocks:
            return []
        hidden, memory = network.forward(clean_rows([tokens], network.device))
        choices = network.logits(hidden).argmax(dim=-1).tolist()
        hidden, _ = network.forward(
            noisy_rows(blocks, network.config, network.device), memory=memory
        )
        drafts = iter(network.logits(hidden).argmax(dim=-1).tolist())
        return [
            _num_accepted([next(drafts) for _ in block.ids], block, choices) for _, block in blocks
        ]


class _Predicted(NamedTuple):
    """losses (M,): cross entropies. is_right (M,): whether the likeliest token is the wanted."""

    losses: torch.Tensor
    is_right: torch.Tensor


def _num_accepted(drafts: Sequence[int], block: Block, choices: Sequence[int]) -> int:
    """Drafts in a row that are the causal model's choice, as far as the text tells that choice."""
    num = 0
    for draft, target, source in zip(drafts, block.targets, block.sources, strict=True):
        if target == IGNORED:
            continue
        if draft != choices[source]:
            break
        num += 1
        if choices[source] != target:
            break
    return num


def _split(batch: Sequence[Noised], max_rows: int) -> Iterator[list[Noised]]:
    """Neighbours whose rows together stay within `max_rows` (one sequence at least)."""
    part: list[Noised] = []
    num_rows = 0
    for each in batch:
        if part and num_rows + each.num_rows > max_rows:
            yield part
            part, num_rows = [], 0
        part.append(each)
        num_rows += each.num_rows
    if part:
        yield part
