"""The causal adapter's objective."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from engine.tokenizer import CodeTokenizer
from engine.training.causal import CausalFim
from engine.training.examples import ExampleBuilder, ExampleStream, FimExample
from engine.training.lora import LowRankSet
from engine.training.network import Network
from engine.training.objective import clean_rows
from engine.weights.adapters import read_adapter
from tests.tiny_model import CHECKPOINT, language
from tests.training.networks import CPU, causal_logits, load_network, low_rank


def examples_of(network: Network, num: int) -> tuple[ExampleStream, list[FimExample]]:
    documents = language.documents(3, held_out=False)
    texts = [next(documents).text for _ in range(num)]
    tokenizer = CodeTokenizer(CHECKPOINT / "tokenizer.json")
    builder = ExampleBuilder(tokenizer, network.config, max_tokens=300)
    stream = ExampleStream(texts, builder, seed=1)
    held_out = [stream.next() for _ in range(num)]
    return ExampleStream(texts, builder, seed=1), held_out


def objective(
    network: Network, lora: LowRankSet, *, num: int = 4, max_rows: int = 2048, through: bool = False
) -> CausalFim:
    stream, held_out = examples_of(network, num)
    return CausalFim(
        network,
        lora,
        stream,
        held_out,
        examples_per_step=num,
        max_rows=max_rows,
        through_context=through,
    )


def gradients(found: CausalFim) -> dict[str, torch.Tensor]:
    return {
        name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        for name, leaf in found.parameters()
    }


def test_loss_is_the_next_token_loss_of_the_middle(qwen_folder: Path) -> None:
    """Against one plain causal pass over each example."""
    network = load_network(qwen_folder)
    lora = low_rank(network, masks=False)
    task = objective(network, lora)
    _, examples = examples_of(network, 4)
    losses = []
    for example in examples:
        (logits,) = causal_logits(network, [example.tokens], lora)
        start = example.num_context_tokens
        wanted = torch.tensor(example.tokens[start:])
        losses.append(F.cross_entropy(logits[start - 1 : -1], wanted, reduction="none"))
    metrics = task.accumulate()
    supervised = torch.cat(losses)
    assert metrics["loss"] == pytest.approx(float(supervised.mean()), rel=1e-4)
    assert metrics["supervised_tokens"] == len(supervised)
    assert metrics["tokens"] == sum(len(example.tokens) for example in examples)


@pytest.mark.parametrize("through", [False, True])
def test_passes_of_any_size_add_up_to_the_same_gradients(qwen_folder: Path, through: bool) -> None:
    network = load_network(qwen_folder)
    whole, split = (
        objective(network, low_rank(network, masks=False), max_rows=rows, through=through)
        for rows in (10_000, 1)
    )
    assert whole.accumulate()["loss"] == pytest.approx(split.accumulate()["loss"], rel=1e-5)
    for (name, left), right in zip(
        gradients(whole).items(), gradients(split).values(), strict=True
    ):
        assert bool(left.any()), name
        torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-3)


def test_through_context_has_the_same_loss_and_more_gradient(qwen_folder: Path) -> None:
    network = load_network(qwen_folder)
    without, with_it = (
        objective(network, low_rank(network, masks=False), through=through)
        for through in (False, True)
    )
    assert without.accumulate()["loss"] == with_it.accumulate()["loss"]
    key = "layers.0.self_attn.k_proj.A"
    assert not torch.allclose(gradients(without)[key], gradients(with_it)[key], rtol=1e-2)
    # The gradient through the context is the true one: a step against it changes the loss by it.
    generator = torch.Generator().manual_seed(0)
    leaves = dict(with_it.parameters())
    slope, step = 0.0, 1e-3
    with torch.no_grad():
        for name, gradient in gradients(with_it).items():
            direction = torch.randn(gradient.shape, generator=generator)
            slope += float((direction * gradient).sum())
            leaves[name].add_(direction, alpha=step)
    moved = with_it.evaluate()["held_out_loss"]
    assert moved - without.evaluate()["held_out_loss"] == pytest.approx(step * slope, rel=0.1)


def test_a_few_steps_lower_the_loss(qwen_folder: Path) -> None:
    network = load_network(qwen_folder)
    fresh = LowRankSet(network.config, rank=8, alpha=16, device=CPU, seed=0)
    task = objective(network, fresh)
    optimizer = torch.optim.AdamW([leaf for _, leaf in task.parameters()], lr=1e-2)
    before = task.evaluate()
    for _ in range(12):
        optimizer.zero_grad()
        task.accumulate()
        optimizer.step()
    after = task.evaluate()
    assert after["held_out_loss"] < before["held_out_loss"] - 0.5
    assert after["token_accuracy"] > before["token_accuracy"]


@pytest.mark.parametrize("figure", ["early_end", "end_recall"])
def test_figures_of_the_end(qwen_folder: Path, figure: str) -> None:
    """end_recall and early_end are what the logits say, example by example; the end token is made
    likely before an end or at one, so that it is not none."""
    network = load_network(qwen_folder)
    lora = low_rank(network, masks=False)
    task = objective(network, lora)
    _, examples = examples_of(network, 4)
    end = examples[0].tokens[-1]
    with torch.no_grad():
        # The rows before and at the end of the first middle; it then lies in that direction.
        stop = examples[0].num_context_tokens if figure == "early_end" else -1
        rows = clean_rows([examples[0].tokens[:stop]], CPU)
        hidden = network.forward(rows, lora)[0][-1]
        best = network.logits(hidden).max()
        network.head[end] = hidden / hidden.square().sum() * (best + 1)
    figures = task.evaluate()
    assert 0 < figures[figure] < 1
    num_early = num_ends = num_right = num_tokens = 0
    for example in examples:
        (logits,) = causal_logits(network, [example.tokens], lora)
        best = logits.argmax(dim=-1)[example.num_context_tokens - 1 : -1].tolist()
        wanted = example.tokens[example.num_context_tokens :]
        num_early += sum(token == end for token in best[:-1])
        num_ends += best[-1] == end
        num_right += sum(a == b for a, b in zip(best, wanted, strict=True))
        num_tokens += len(wanted)
    assert figures["token_accuracy"] == pytest.approx(num_right / num_tokens)
    assert figures["early_end"] == pytest.approx(num_early / (num_tokens - len(examples)))
    assert figures["end_recall"] == pytest.approx(num_ends / len(examples))


def test_export_and_state(qwen_folder: Path, tmp_path: Path) -> None:
    network = load_network(qwen_folder)
    task = objective(network, low_rank(network, masks=False))
    task.accumulate()
    state = task.state()
    expected = task.accumulate()
    other = objective(network, low_rank(network, masks=False))
    other.restore(state)
    assert other.accumulate() == expected
    task.export(tmp_path)
    adapter = read_adapter(tmp_path, network.config)
    assert adapter.mask_embedding is None
    assert adapter.pairs.keys() == task.lora.pairs.keys()
