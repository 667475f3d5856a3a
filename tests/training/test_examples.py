"""Examples are asked as the engine asks, and their stream goes on where it stopped."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from engine.infill.hole import Hole
from engine.infill.prompt import PromptBuilder
from engine.infill.route import choose_route
from engine.models.config import ModelConfig, read_model_config
from engine.tokenizer import CodeTokenizer
from engine.training.examples import ExampleBuilder, ExampleStream, FimExample
from engine.training.holes import HoleText, cut_hole
from tests.tiny_model import CHECKPOINT, language

MAX_TOKENS = 400


@pytest.fixture(scope="module")
def tokenizer() -> CodeTokenizer:
    return CodeTokenizer(CHECKPOINT / "tokenizer.json")


@pytest.fixture(scope="module")
def config(qwen_folder: Path) -> ModelConfig:
    return read_model_config(qwen_folder / "config.json")


@pytest.fixture(scope="module")
def texts() -> list[str]:
    documents = language.documents(3, held_out=False)
    return ["".join(next(documents).text for _ in range(3)) for _ in range(6)]


def builder_of(
    tokenizer: CodeTokenizer, config: ModelConfig, max_tokens: int = MAX_TOKENS
) -> ExampleBuilder:
    return ExampleBuilder(tokenizer, config, max_tokens=max_tokens)


def built(example: FimExample | None) -> FimExample:
    assert example is not None
    return example


def test_the_context_is_the_engines_prompt(
    tokenizer: CodeTokenizer, config: ModelConfig, texts: list[str]
) -> None:
    """For cuts inside words and elsewhere; what healing takes back begins the middle."""
    builder, rng = builder_of(tokenizer, config, 4000), random.Random(1)
    prompts = PromptBuilder(tokenizer, config, max_prefix_tokens=4000, max_suffix_tokens=4000)
    num_healed = num_whole = 0
    for _ in range(120):
        hole = cut_hole(rng.choice(texts), rng)
        if hole is None:
            continue
        example = built(builder.build(hole))
        at = Hole(hole.prefix, hole.suffix)
        if not at.has_suffix:
            continue
        prompt = prompts.build(at, choose_route("auto", at, config, has_draft_adapter=False), None)
        assert example.tokens[: example.num_context_tokens] == prompt.context
        spelt = b"".join(
            tokenizer.token_bytes(token) for token in example.tokens[example.num_context_tokens :]
        )
        assert spelt == prompt.need + hole.middle.encode()
        num_healed += bool(prompt.need)
        num_whole += not prompt.need
    assert num_healed > 10 and num_whole > 10


def test_layout_of_an_example(tokenizer: CodeTokenizer, config: ModelConfig) -> None:
    """prefix marker, prefix, suffix marker, suffix, middle marker, middle, end."""
    hole = HoleText("line", "a = 1\n", "b = 2\n", "c = 3\n")
    example = built(builder_of(tokenizer, config).build(hole))
    assert config.fim is not None
    at_suffix = example.tokens.index(config.fim.suffix)
    at_middle = example.tokens.index(config.fim.middle)
    start = len(tokenizer.bos_ids)
    assert example.tokens[start] == config.fim.prefix
    assert example.tokens[start + 1 : at_suffix] == tokenizer.encode(hole.prefix)
    assert example.tokens[at_suffix + 1 : at_middle] == tokenizer.encode(hole.suffix)
    assert example.num_context_tokens == at_middle + 1
    assert example.tokens[at_middle + 1 : -1] == tokenizer.encode(hole.middle)
    assert example.tokens[-1] == config.eos_token_ids[0]
    assert example.num_middle_tokens == len(tokenizer.encode(hole.middle)) + 1


def test_an_empty_middle_is_the_end_alone(tokenizer: CodeTokenizer, config: ModelConfig) -> None:
    example = built(builder_of(tokenizer, config).build(HoleText("empty", "x\n", "", "y\n")))
    assert example.tokens[example.num_context_tokens :] == [config.eos_token_ids[0]]


def test_too_long_an_example_is_left_out(tokenizer: CodeTokenizer, config: ModelConfig) -> None:
    hole = HoleText("line", "a = 1\n", "b = 2\n", "c = 3\n")
    num_tokens = len(built(builder_of(tokenizer, config).build(hole)).tokens)
    assert builder_of(tokenizer, config, num_tokens).build(hole) is not None
    assert builder_of(tokenizer, config, num_tokens - 1).build(hole) is None


def test_a_model_without_fim_tokens_is_refused(
    tokenizer: CodeTokenizer, config: ModelConfig
) -> None:
    with pytest.raises(ValueError, match="no fill-in-the-middle tokens"):
        builder_of(tokenizer, replace(config, fim=None))


def test_a_stream_goes_on_from_its_cursor(
    tokenizer: CodeTokenizer, config: ModelConfig, texts: list[str]
) -> None:
    def stream(seed: int = 5) -> ExampleStream:
        return ExampleStream(texts, builder_of(tokenizer, config), seed=seed)

    whole = stream()
    expected = [whole.next() for _ in range(20)]
    first, second = stream(), stream()
    begun = [first.next() for _ in range(9)]
    second.cursor = first.cursor
    assert begun + [second.next() for _ in range(11)] == expected
    assert whole.cursor[0] >= 3, "passes over six texts"
    assert expected[:6] != expected[6:12], "another pass cuts other holes"
    other = stream(6)
    assert [other.next() for _ in range(6)] != expected[:6]


def test_a_corpus_that_gives_nothing_is_an_error(
    tokenizer: CodeTokenizer, config: ModelConfig
) -> None:
    stream = ExampleStream(["", "\n"], builder_of(tokenizer, config, 2), seed=0)
    with pytest.raises(ValueError, match="no text of the corpus"):
        stream.next()
