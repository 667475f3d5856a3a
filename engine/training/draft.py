"""The diffusion adapter: masks learn to say what the frozen causal model would have said.

The clean stream runs once without gradients and gives three things: the keys and values that
noisy blocks see, the causal model's own choices, which are what a draft is judged by, and thereby
the anchors worth training on. Only the low-rank pairs at mask rows and the mask embedding learn.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F

from engine.training.loop import TrainingError
from engine.training.lora import LowRankSet
from engine.training.network import Memory, Network
from engine.training.noise import IGNORED, Block, BlockMaker, NoiseKind, noisy_rows
from engine.training.objective import Metrics, TokenStream, clean_rows
from engine.weights.adapters import write_adapter

Target = Literal["data", "argmax", "distribution"]

# Of the held-out anchors every third is judged: neighbours say nearly the same.
_ANCHOR_STRIDE = 3
_MAX_JUDGED_SLOTS = 3
_TRIES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftOptions:
    """target: what masks learn: the token of the data, the causal model's argmax, or its
    distribution (cross entropy against it). num_masks: (least, most) masks of a draft block.
    blocks_per_sequence: how many noisy blocks share one clean context. kinds: weights of draft,
    random and hole blocks. on_policy: drafts start only where the text went the way the causal
    model would have gone, as they do at inference. slot_decay: weight of mask j is slot_decay **
    j: a later slot counts only when the earlier ones were right. late: see BlockMaker.random.
    """

    target: Target = "distribution"
    num_masks: tuple[int, int] = (3, 3)
    blocks_per_sequence: int = 48
    kinds: dict[NoiseKind, float]
    on_policy: bool = True
    slot_decay: float = 0.8
    late: float = 0.0
    random_block_size: int = 16
    hole_canvas: int = 12
    num_suffix_head: int = 6


@dataclass(frozen=True, slots=True)
class _Clean:
    """Clean stream of a batch. offsets: first row of each document; choices: causal argmax."""

    tokens: list[list[int]]
    offsets: list[int]
    memory: Memory
    hidden: torch.Tensor
    choices: list[list[int]]


class DraftAdapter:
    """Objective over the token sequences of `stream`, with `held_out` ones to judge by."""

    export_name = "adapter"

    def __init__(
        self,
        network: Network,
        lora: LowRankSet,
        stream: TokenStream,
        held_out: Sequence[list[int]],
        options: DraftOptions,
        maker: BlockMaker,
        *,
        sequences_per_step: int,
        seed: int,
    ) -> None:
        self._network, self.lora, self._options, self._maker = network, lora, options, maker
        self._stream, self._held_out = stream, held_out
        self._sequences_per_step, self._seed = sequences_per_step, seed
        self._num_steps = 0
        self._masks_only = network.config.adapter_scope == "masks"

    def parameters(self) -> Iterator[tuple[str, torch.Tensor]]:
        return self.lora.parameters()

    def accumulate(self) -> Metrics:
        rng = random.Random(f"{self._seed}/{self._num_steps}")
        self._num_steps += 1
        clean, blocks = self._batch(rng)
        losses, weights, right = self._losses(clean, blocks)
        loss = (losses * weights).sum() / weights.sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return {
            "loss": float(loss.detach()),
            "tokens": float(sum(len(each) for each in clean.tokens)),
            "mask_tokens": float(len(losses)),
            "mask_accuracy": float(right.float().mean()),
        }

    def _batch(self, rng: random.Random) -> tuple[_Clean, list[tuple[int, Block]]]:
        """The next sequences and their noisy blocks; raises TrainingError when none has a place
        for one."""
        for _ in range(_TRIES):
            clean = self._clean(
                [self._stream.next_tokens() for _ in range(self._sequences_per_step)]
            )
            blocks = [
                (document, block)
                for document in range(len(clean.tokens))
                for block in self._blocks(clean, document, rng)
            ]
            if blocks:
                return clean, blocks
        raise TrainingError("No text is long enough for a block; give longer texts or less masks.")

    @torch.no_grad()
    def evaluate(self) -> Metrics:
        """Draft blocks at every anchor of held-out text where text and causal model agree.

        accepted_drafts: leading masks (up to slot 4) whose token is the causal model's choice,
        per block, over anchors after which the text follows that model, so that every slot has a
        verdict. slot_2, slot_3, ...: share right where all before were.
        """
        num_masks = self._options.num_masks[1]
        # Same-position logits need a mask for what the seed's own row says in the other form.
        is_same = self._network.config.alignment == "same_position"
        num_judged = min(num_masks, _MAX_JUDGED_SLOTS + is_same)
        judged = [0] * num_judged
        right = [0] * num_judged
        num_blocks = 0
        for tokens in self._held_out:
            clean = self._clean([tokens])
            choices = clean.choices[0]
            anchors = [
                at
                for at in range(len(tokens) - max(num_masks + 1, _MAX_JUDGED_SLOTS))
                if all(choices[at + j] == tokens[at + j + 1] for j in range(_MAX_JUDGED_SLOTS))
            ][::_ANCHOR_STRIDE]
            blocks = [
                (0, block)
                for at in anchors
                if (block := self._maker.draft(tokens, at, num_masks)) is not None
            ]
            if not blocks:
                continue
            found = self._argmax(clean, blocks)
            for (_, block), drafts in zip(blocks, found, strict=True):
                num_blocks += 1
                wanted = [choices[source] for source in block.sources if source != IGNORED]
                for slot, (draft, truth) in enumerate(
                    zip(drafts[:num_judged], wanted[:num_judged], strict=True)
                ):
                    judged[slot] += 1
                    right[slot] += draft == truth
                    if draft != truth:
                        break
        # A cycle of linear_spec emits the accepted drafts and one token more; with next-position
        # logits the seed's own row gives another, which is always right.
        free = 1 if is_same else 2
        figures = {
            f"slot_{slot + free}": right[slot] / max(1, judged[slot]) for slot in range(num_judged)
        }
        accepted = sum(right) / max(1, num_blocks)
        return {"accepted_drafts": accepted, "tokens_per_cycle": free + accepted, **figures}

    def state(self) -> dict[str, Any]:
        return {"cursor": list(self._stream.cursor), "num_steps": self._num_steps}

    def restore(self, state: dict[str, Any]) -> None:
        self._num_steps = state["num_steps"]
        epoch, at = state["cursor"]
        self._stream.cursor = (epoch, at)

    def export(self, folder: Path) -> None:
        write_adapter(folder, self.lora.export(torch.bfloat16))

    @torch.no_grad()
    def _clean(self, tokens: list[list[int]]) -> _Clean:
        """One causal pass without the adapter: what a server's cache would hold."""
        network = self._network
        hidden, memory = network.forward(clean_rows(tokens, network.device))
        offsets, choices, at = [], [], 0
        best = torch.cat([network.logits(part).argmax(dim=-1) for part in torch.split(hidden, 512)])
        for sequence in tokens:
            offsets.append(at)
            choices.append(best[at : at + len(sequence)].tolist())
            at += len(sequence)
        return _Clean(tokens, offsets, memory, hidden, choices)

    def _blocks(self, clean: _Clean, document: int, rng: random.Random) -> list[Block]:
        options, tokens = self._options, clean.tokens[document]
        names = list(options.kinds)
        anchors = self._anchors(tokens, clean.choices[document])
        blocks: list[Block] = []
        if not anchors:
            return blocks
        for _ in range(2 * options.blocks_per_sequence):
            kind = rng.choices(names, [options.kinds[name] for name in names])[0]
            block: Block | None
            if kind == "draft":
                block = self._maker.draft(
                    tokens, rng.choice(anchors), rng.randint(*options.num_masks)
                )
            elif kind == "random":
                block = self._maker.random(
                    tokens,
                    rng.randrange(len(tokens)),
                    options.random_block_size,
                    rng,
                    late=options.late,
                )
            else:
                block = self._maker.hole(
                    tokens,
                    rng.randrange(len(tokens)),
                    rng.randint(1, options.hole_canvas - 1),
                    canvas=options.hole_canvas,
                    num_suffix=options.num_suffix_head,
                )
            if block is not None:
                blocks.append(block)
            if len(blocks) == options.blocks_per_sequence:
                break
        return blocks

    def _anchors(self, tokens: list[int], choices: list[int]) -> list[int]:
        places = range(len(tokens) - 2)
        if not self._options.on_policy:
            return list(places)
        return [at for at in places if choices[at] == tokens[at + 1]]

    def _losses(
        self, clean: _Clean, blocks: Sequence[tuple[int, Block]]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Per supervised row: loss, weight, and whether the prediction is the wanted token."""
        network, options = self._network, self._options
        rows = noisy_rows(blocks, network.config, network.device)
        hidden, _ = network.forward(
            rows, self.lora, memory=clean.memory, masks_only=self._masks_only
        )
        places, wanted, sources, weights = [], [], [], []
        at = 0
        for document, block in blocks:
            slot = 0
            for offset, (target, source) in enumerate(
                zip(block.targets, block.sources, strict=True)
            ):
                if target == IGNORED:
                    continue
                places.append(at + offset)
                sources.append(IGNORED if source == IGNORED else clean.offsets[document] + source)
                if source == IGNORED or options.target == "data":
                    wanted.append(target)
                else:
                    wanted.append(clean.choices[document][source])
                weights.append(block.weights[offset] * options.slot_decay**slot)
                slot += 1
            at += len(block.ids)
        logits = network.logits(hidden[torch.tensor(places, device=network.device)])
        truth = torch.tensor(wanted, device=network.device)
        right = logits.detach().argmax(dim=-1) == truth
        losses = F.cross_entropy(logits, truth, reduction="none")
        taught = [at for at, source in enumerate(sources) if source != IGNORED]
        if options.target == "distribution" and taught:
            # A hole has no row of the clean stream that says what it should say: its targets stay.
            with torch.no_grad():
                teacher = network.logits(clean.hidden[[sources[at] for at in taught]]).softmax(-1)
            soft = F.cross_entropy(logits[taught], teacher, reduction="none")
            losses = losses.index_copy(0, torch.tensor(taught, device=network.device), soft)
        return losses, torch.tensor(weights, device=network.device), right

    def _argmax(self, clean: _Clean, blocks: Sequence[tuple[int, Block]]) -> list[list[int]]:
        """The drafted tokens of each block."""
        network = self._network
        rows = noisy_rows(blocks, network.config, network.device)
        hidden, _ = network.forward(
            rows, self.lora, memory=clean.memory, masks_only=self._masks_only
        )
        places, at = [], 0
        for _, block in blocks:
            places += [at + i for i, target in enumerate(block.targets) if target != IGNORED]
            at += len(block.ids)
        best = iter(network.logits(hidden[places]).argmax(dim=-1).tolist())
        return [
            [next(best) for target in block.targets if target != IGNORED] for _, block in blocks
        ]
