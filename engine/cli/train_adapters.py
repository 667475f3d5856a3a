"""`nemodiff train causal|draft`: the two adapters of a code model. Registered by `train.py`."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from engine.cli.train_options import add_common, base_of, number, train, whole

if TYPE_CHECKING:
    import torch

    from engine.training.examples import ExampleStream, FimExample
    from engine.training.lora import LowRankSet
    from engine.training.setup import Base


def add_parsers(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `causal` and `draft`."""
    causal = kinds.add_parser(
        "causal", help="the adapter that ends a middle where the suffix takes over"
    )
    add_common(causal, rank=16, learning_rate=4e-4)
    causal.add_argument("--examples-per-step", type=whole(1), default=8, metavar="N")
    causal.add_argument(
        "--through-context",
        action="store_true",
        help="let gradients flow through the context, too (1.6 times the cost)",
    )
    causal.set_defaults(run=run_causal)
    draft = kinds.add_parser("draft", help="the adapter with which masks draft several tokens")
    add_common(draft, rank=32, learning_rate=1e-3)
    _add_draft(draft)
    draft.set_defaults(run=run_draft)


def _add_draft(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--causal-adapter", type=Path, metavar="DIR", help="merged into the base")
    parser.add_argument(
        "--target", choices=("data", "argmax", "distribution"), default="distribution"
    )
    parser.add_argument(
        "--masks", type=_masks, default="3", metavar="N or A-B", help="of a draft block"
    )
    parser.add_argument("--blocks-per-sequence", type=whole(1), default=48, metavar="N")
    parser.add_argument("--sequences-per-step", type=whole(1), default=8, metavar="N")
    parser.add_argument("--draft-weight", type=number(0, 1e6), default=1.0, metavar="X")
    parser.add_argument("--random-weight", type=number(0, 1e6), default=0.0, metavar="X")
    parser.add_argument("--hole-weight", type=number(0, 1e6), default=0.0, metavar="X")
    parser.add_argument("--block-size", type=whole(2), default=16, metavar="N", help="random")
    parser.add_argument("--late", type=number(0, 100), default=0.0, metavar="X", help="later more")
    parser.add_argument("--off-policy", action="store_true", help="drafts start anywhere")
    parser.add_argument("--alignment", choices=("next_position", "same_position"))
    parser.add_argument("--adapter-scope", choices=("masks", "block"))


def run_causal(args: argparse.Namespace) -> int:
    """Train the causal adapter. Raises EngineError."""
    from engine.training.causal import CausalFim

    base = base_of(args)
    material = _material(args, base)
    lora = _low_rank(args, base)
    objective = CausalFim(
        base.network,
        lora,
        material.stream,
        material.held_out,
        examples_per_step=args.examples_per_step,
        through_context=args.through_context,
    )
    facts = {
        "kind": "causal",
        "model": base.name,
        "rank": args.rank,
        "seed": args.seed,
        "examples_per_step": args.examples_per_step,
        "through_context": args.through_context,
        "max_tokens": args.max_tokens,
        "num_texts": material.num_texts,
    }
    return train(args, objective, facts)


def run_draft(args: argparse.Namespace) -> int:
    """Train the diffusion adapter. Raises EngineError."""
    from engine.training.draft import DraftAdapter, DraftOptions
    from engine.training.loop import TrainingError
    from engine.training.noise import BlockMaker

    if not args.draft_weight + args.random_weight + args.hole_weight:
        raise TrainingError("All three weights are 0; set --draft-weight or another above 0.")
    base = base_of(
        args,
        causal_adapter=args.causal_adapter,
        alignment=args.alignment,
        adapter_scope=args.adapter_scope,
    )
    material = _material(args, base)
    lora = _low_rank(args, base, mask_embedding=base.network.mask_embedding)
    options = DraftOptions(
        target=args.target,
        num_masks=args.masks,
        blocks_per_sequence=args.blocks_per_sequence,
        kinds={
            "draft": args.draft_weight,
            "random": args.random_weight,
            "hole": args.hole_weight,
        },
        on_policy=not args.off_policy,
        late=args.late,
        random_block_size=args.block_size,
    )

    objective = DraftAdapter(
        base.network,
        lora,
        material.stream,
        [each.tokens for each in material.held_out],
        options,
        BlockMaker(base.network.config, material.end_token, base.pad_token),
        sequences_per_step=args.sequences_per_step,
        seed=args.seed,
    )
    facts = {
        "kind": "draft",
        "model": base.name,
        "rank": args.rank,
        "seed": args.seed,
        "sequences_per_step": args.sequences_per_step,
        "options": asdict(options),
        "alignment": base.network.config.alignment,
        "adapter_scope": base.network.config.adapter_scope,
        "max_tokens": args.max_tokens,
        "num_texts": material.num_texts,
    }
    return train(args, objective, facts)


def _masks(text: str) -> tuple[int, int]:
    least, dash, most = text.partition("-")
    most = most if dash else least
    if not (least.isdecimal() and most.isdecimal() and 1 <= int(least) <= int(most)):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number above 0 nor two as in 2-4")
    return int(least), int(most)


class _Material(NamedTuple):
    """What both adapters learn from."""

    stream: ExampleStream
    held_out: list[FimExample]
    end_token: int
    num_texts: int


def _material(args: argparse.Namespace, base: Base) -> _Material:
    """Raises EngineError."""
    from engine.training.examples import ExampleStream
    from engine.training.setup import example_builder, held_out_examples, load_texts

    builder = example_builder(base, args.max_tokens)
    texts = load_texts(args.corpus, "train", args.languages)
    held_out = held_out_examples(
        load_texts(args.corpus, "heldout", args.languages), builder, args.held_out
    )
    stream = ExampleStream(texts, builder, seed=args.seed)
    return _Material(stream, held_out, builder.end_token, len(texts))


def _low_rank(
    args: argparse.Namespace, base: Base, mask_embedding: torch.Tensor | None = None
) -> LowRankSet:
    """The pairs to train, from --start-from where there is one. Raises EngineError."""
    from engine.training.loop import TrainingError
    from engine.training.lora import LowRankSet
    from engine.weights.adapters import read_adapter

    lora = LowRankSet(
        base.network.config,
        rank=args.rank,
        alpha=2 * args.rank,
        mask_embedding=mask_embedding,
        device=base.network.device,
        seed=args.seed,
    )
    if args.start_from is None:
        return lora
    try:
        lora.load(read_adapter(args.start_from, base.network.config))
    except ValueError as error:
        raise TrainingError(f"{args.start_from} cannot be gone on from: {error}.") from None
    return lora
