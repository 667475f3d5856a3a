"""`nemodiff train full`: convert a whole model, all weights. Registered by `train.py`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.cli.train_options import add_common, base_of, number, train, whole

if TYPE_CHECKING:
    from engine.training.objective import TokenStream
    from engine.training.setup import Base


def add_parser(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `full`."""
    full = kinds.add_parser("full", help="convert a whole model to block diffusion, all weights")
    add_common(full, rank=None, learning_rate=1e-5)
    full.add_argument(
        "--alpha", type=number(0, 100), default=0.3, metavar="X", help="of the diffusion loss"
    )
    full.add_argument("--block-size", type=whole(2), metavar="N", help="default: the model's")
    full.add_argument("--aligned", action="store_true", help="blocks start at multiples of it")
    full.add_argument(
        "--draft-share",
        type=number(0, 1),
        default=0.0,
        metavar="X",
        help="of blocks: a seed and masks",
    )
    full.add_argument("--sequences-per-step", type=whole(1), default=8, metavar="N")
    full.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Convert and export a checkpoint that the engine loads. Raises EngineError."""
    from engine.training.full import FullConversion
    from engine.training.full_noise import FullOptions
    from engine.training.setup import HELD_OUT_SEED, load_texts

    base = base_of(args)
    texts = load_texts(args.corpus, "train", args.languages)
    stream = _stream(base, texts, args, args.seed)
    judge = _stream(base, load_texts(args.corpus, "heldout", args.languages), args, HELD_OUT_SEED)
    options = FullOptions(
        alpha=args.alpha,
        block_size=args.block_size,
        random_offsets=not args.aligned,
        draft_share=args.draft_share,
    )
    objective = FullConversion(
        base.network,
        stream,
        [judge.next_tokens() for _ in range(args.held_out)],
        options,
        tokenizer_folder=base.folder,
        sequences_per_step=args.sequences_per_step,
        seed=args.seed,
    )
    facts = {
        "kind": "full",
        "model": base.name,
        "seed": args.seed,
        "alpha": args.alpha,
        "block_size": args.block_size,
        "aligned": args.aligned,
        "draft_share": args.draft_share,
        "sequences_per_step": args.sequences_per_step,
        "max_tokens": args.max_tokens,
        "num_texts": len(texts),
    }
    return train(args, objective, facts)


def _stream(base: Base, texts: Sequence[str], args: argparse.Namespace, seed: int) -> TokenStream:
    """Fill-in-the-middle examples where the model has the tokens for it, else plain windows."""
    from engine.training.examples import ExampleStream
    from engine.training.setup import example_builder
    from engine.training.windows import TextWindows

    config = base.network.config
    if config.fim is not None:
        return ExampleStream(texts, example_builder(base, args.max_tokens), seed=seed)
    return TextWindows(
        texts,
        base.tokenizer,
        end_token=config.eos_token_ids[0],
        num_tokens=args.max_tokens,
        seed=seed,
    )
