"""From names to objects: the model, the texts and the objective of a training command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from engine.device import DeviceChoice, choose_device
from engine.models.config import AdapterScope, Alignment
from engine.models.load import load_model
from engine.tokenizer import CodeTokenizer
from engine.training.corpus.shards import read_corpus
from engine.training.examples import ExampleBuilder, ExampleStream, FimExample
from engine.training.loop import TrainingError
from engine.training.network import Network
from engine.weights.resolve import resolve_model

HELD_OUT_SEED = 7


@dataclass(frozen=True, slots=True)
class Base:
    """The frozen model that an adapter is trained for. causal_adapter: merged into it, or None."""

    name: str
    folder: Path
    network: Network
    tokenizer: CodeTokenizer
    choice: DeviceChoice

    @property
    def pad_token(self) -> int:
        """A special token that stands for "nothing here" in a hole's canvas."""
        return self.network.config.eos_token_ids[-1]


def load_base(
    model: str,
    *,
    causal_adapter: Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    num_threads: int | None = None,
    offline: bool = False,
    alignment: Alignment | None = None,
    adapter_scope: AdapterScope | None = None,
) -> Base:
    """Find and load a model for training. Raises EngineError and its kin."""
    choice = choose_device(device, dtype, num_threads)
    if choice.device.type == "cpu":
        torch.set_num_threads(choice.num_threads)
    folder = resolve_model(model, offline=offline, report=lambda phase, fraction: None)
    loaded = load_model(folder, choice, causal_adapter=causal_adapter, pack=False)
    network = Network(loaded.decoder)
    network.config = replace(
        network.config,
        alignment=alignment or network.config.alignment,
        adapter_scope=adapter_scope or network.config.adapter_scope,
    )
    return Base(model, folder, network, CodeTokenizer(folder / "tokenizer.json"), choice)


def load_texts(corpus: Path, split: str, languages: Sequence[str] | None) -> list[str]:
    """Raises CorpusError, and TrainingError when nothing is left."""
    texts = [
        document.text
        for document in read_corpus(corpus, split)
        if languages is None or document.language in languages
    ]
    if not any(texts):
        raise TrainingError(f"{corpus} holds no {split} text in the languages asked for.")
    return texts


def example_builder(base: Base, max_tokens: int) -> ExampleBuilder:
    """Raises TrainingError for a model without fill-in-the-middle tokens."""
    try:
        return ExampleBuilder(base.tokenizer, base.network.config, max_tokens=max_tokens)
    except ValueError as error:
        raise TrainingError(f"{base.name} cannot be trained so: {error}.") from None


def held_out_examples(
    texts: Sequence[str], builder: ExampleBuilder, num_examples: int
) -> list[FimExample]:
    """The same examples in every run."""
    stream = ExampleStream(texts, builder, seed=HELD_OUT_SEED)
    return [stream.next() for _ in range(num_examples)]
