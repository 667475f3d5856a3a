"""The gate: its features, its score, its file, and what it does to answers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.config import EngineConfig
from engine.decoding.sampling import Pick, Sampler
from engine.decoding.scores import Scores
from engine.decoding.state import Decoding, DecodingParams
from engine.engine import Engine
from engine.infill.first_token import first_pick
from engine.infill.gate import FEATURES, NEVER, Gate, GateError, gate_features
from engine.infill.healing import spell
from engine.infill.hole import Hole
from engine.kv_cache import KVCache
from engine.messages.completion import Completion, CompletionRequest
from engine.models.config import ModelConfig, read_model_config
from engine.tokenizer import CodeTokenizer
from tests.models import checkpoints
from tests.models.checkpoints import TINY

TOKENIZER = CodeTokenizer(TINY / "tokenizer.json")
CONFIG: ModelConfig = read_model_config(TINY / "config.json")
END = CONFIG.eos_token_ids[0]
EVERYTHING = Gate(bias=-1.0, threshold=1.0)
HOLE = Hole("x = ", "\nprint(total)\ny = 2\n")


def decoding() -> Decoding:
    cpu = torch.device("cpu")
    forbidden = torch.zeros(CONFIG.vocab_size, dtype=torch.bool)
    sampler = Sampler(
        forbidden=forbidden,
        temperature=0.0,
        top_p=1.0,
        seed=1,
        dtype=torch.float32,
        end_ids=CONFIG.eos_token_ids,
    )
    cache = KVCache(CONFIG, cpu, torch.float32)
    return Decoding(CONFIG, cache, sampler, DecodingParams(8, 16))


def logits_of(probabilities: dict[int, float]) -> torch.Tensor:
    """fp32 (1, vocab_size) whose softmax has these probabilities, and next to none elsewhere."""
    logits = torch.full((1, CONFIG.vocab_size), -40.0)
    for token, probability in probabilities.items():
        logits[0, token] = math.log(probability)
    return logits


def emit_first(
    probabilities: dict[int, float], need: bytes = b"", branch: int = 0
) -> tuple[Decoding, Iterator[object]]:
    state = decoding()
    pick = first_pick(state, Scores.of(logits_of(probabilities)), need, TOKENIZER, branch)
    assert pick is not None
    steps = spell(state, pick, need, TOKENIZER)
    with pytest.raises(StopIteration):
        next(steps)
    return state, steps


def test_features_of_a_finished_candidate() -> None:
    state = decoding()
    state.emit_pick(Pick([300], [-0.5], [False], [-3.0]))
    state.emit_pick(Pick([301, END], [-1.5, -0.25], [False, False], [-0.1, -0.2]), 2)
    found = gate_features(state, "total", HOLE)
    assert set(found) == set(FEATURES)
    assert found == {
        "mean_logprob": -0.75,
        "min_logprob": -1.5,
        "first_logprob": -0.5,
        "first_end_logprob": -3.0,
        "num_tokens": 2.0,
        "is_ended": 1.0,
        "is_trivial": 0.0,
        "repeats_suffix": 0.0,
    }


@pytest.mark.parametrize(
    ("text", "is_trivial", "repeats"),
    [
        ("", 1.0, 0.0),
        (" \n\t", 1.0, 0.0),
        ("):", 1.0, 0.0),
        ("_", 0.0, 0.0),
        ("1\nprint(total)", 0.0, 1.0),
        ("  y = 2", 0.0, 0.0),
        ("print(totals)", 0.0, 0.0),
    ],
)
def test_features_of_texts(text: str, is_trivial: float, repeats: float) -> None:
    found = gate_features(decoding(), text, HOLE)
    assert (found["is_trivial"], found["repeats_suffix"]) == (is_trivial, repeats)
    # Nothing was decoded, so nothing is known of its probability.
    assert not {"mean_logprob", "min_logprob", "first_logprob", "first_end_logprob"} & set(found)


def test_an_end_as_first_token_is_the_empty_middle() -> None:
    state, _ = emit_first({300: 0.6, END: 0.4})
    assert state.first_end_logprob == pytest.approx(math.log(0.4), abs=1e-4)
    state, _ = emit_first({300: 0.3, END: 0.7})
    assert state.finish_reason == "stop" and not state.tokens
    assert state.first_end_logprob == pytest.approx(math.log(0.7), abs=1e-4)


def spelling(text: bytes) -> int:
    return next(i for i in range(CONFIG.vocab_size) if TOKENIZER.token_bytes(i) == text)


def test_a_healed_word_ends_where_its_token_does() -> None:
    """Of what spells the typed characters: the chance that it spells no more than these."""
    allowed = TOKENIZER.allowed_first_tokens(b"d")
    exact = spelling(b"d")
    longer = next(i for i in allowed if len(TOKENIZER.token_bytes(i)) > 1)
    state, _ = emit_first({exact: 0.05, longer: 0.15, 300: 0.8}, b"d")
    assert state.first_end_logprob == pytest.approx(math.log(0.25), abs=1e-4)
    assert state.first_index is None
    # What was typed is given: the token's probability is that among what spells it.
    found = gate_features(state, "ef", HOLE)
    assert found["first_logprob"] == pytest.approx(math.log(0.75), abs=1e-4)
    # Where the typed characters are a token, the next pass knows whether the text ends there.
    state, _ = emit_first({exact: 0.15, longer: 0.05, 300: 0.8}, b"d")
    assert state.first_index == 1
    state.emit_pick(Pick([301], [-0.1], [False], [-2.5]))
    assert state.first_end_logprob == -2.5
    assert gate_features(state, "x", HOLE)["num_tokens"] == 1.0


@pytest.mark.parametrize(("limit", "is_withheld"), [(None, False), (-0.9, False), (-1.0, True)])
def test_the_first_token_may_close_the_gate(limit: float | None, is_withheld: bool) -> None:
    state = decoding()
    state.max_first_end_logprob = limit
    pick = state.sampler.pick(Scores.of(logits_of({300: 0.6, END: 0.4})))
    assert state.emit_pick(pick) == is_withheld == state.is_withheld
    assert state.tokens == ([] if is_withheld else [300])
    assert (state.finish_reason == "stop") == is_withheld
    # Later tokens do not close it.
    if not is_withheld:
        assert not state.emit_pick(Pick([301], [-0.1], [False], [-0.01]))


def test_text_that_is_owed_does_not_end_before_it_begins() -> None:
    likely = {END: 0.7, 300: 0.2, 301: 0.1}
    state = decoding()
    assert state.pick(Scores.of(logits_of(likely))).tokens == [END]
    state.owes_text = True
    pick = state.pick(Scores.of(torch.cat([logits_of(likely), logits_of(likely)])))
    # Only the first new token is owed: the second row may end the text again.
    assert pick.tokens == [300, END]
    # What the model thought of it stays known, for the gate.
    assert pick.end_logprobs[0] == pytest.approx(math.log(0.7), abs=1e-4)
    assert pick.logprobs[0] == pytest.approx(math.log(0.2), abs=1e-4)
    state.emit_pick(pick)
    assert state.pick(Scores.of(logits_of(likely))).tokens == [END]


def test_healed_characters_are_not_the_text_that_is_owed() -> None:
    state = decoding()
    state.owes_text = True
    state.first_index = None
    assert state.pick(Scores.of(logits_of({END: 0.9, 300: 0.1}))).tokens == [END]
    state.tokens, state.first_index = [300], 1
    assert state.pick(Scores.of(logits_of({END: 0.9, 301: 0.1}))).tokens == [301]


@given(
    st.dictionaries(st.sampled_from(FEATURES), st.floats(-100, 100)),
    st.floats(-1e6, 1e6),
    st.dictionaries(st.sampled_from(FEATURES), st.floats(-50, 50)),
    st.none() | st.floats(0, 1),
)
def test_score(
    weights: dict[str, float], bias: float, features: dict[str, float], threshold: float | None
) -> None:
    gate = Gate(weights=weights, bias=bias, threshold=threshold)
    score = gate.score(features)
    if not set(weights) <= set(features):
        # Judged on everything it was calibrated for, or not at all.
        assert score is None and not gate.withholds(features)
        return
    assert score is not None and 0.0 <= score <= 1.0
    assert gate.withholds(features) == (threshold is not None and score < threshold)
    assert not NEVER.withholds(features)


def test_score_is_the_logistic_function() -> None:
    gate = Gate(weights={"mean_logprob": 2.0, "num_tokens": -0.5}, bias=1.0, threshold=0.3)
    features = {"mean_logprob": -0.5, "num_tokens": 3.0, "is_ended": 1.0}
    assert gate.score(features) == pytest.approx(1 / (1 + math.exp(1.5)))
    assert gate.withholds(features)


def test_a_likely_end_as_first_token_withholds() -> None:
    gate = Gate(max_first_end_logprob=-1.0)
    assert [gate.withholds({"first_end_logprob": value}) for value in (-0.5, -1.5)] == [True, False]
    # Not known where no causal pass has judged the first token.
    assert not gate.withholds({"num_tokens": 3.0})


def test_file(tmp_path: Path) -> None:
    path = tmp_path / "gate.json"
    path.write_text(
        json.dumps(
            {
                "weights": {"mean_logprob": 1.5},
                "bias": 2,
                "threshold": 0.4,
                "max_first_end_logprob": None,
                "note": "other keys may tell where it comes from",
            }
        )
    )
    gate = Gate.read(path)
    assert gate == Gate(weights={"mean_logprob": 1.5}, bias=2.0, threshold=0.4)
    assert "0.4" in gate.describe()
    assert NEVER.describe() == "withholds nothing"
    path.write_text('{"max_first_end_logprob": -0.6931471805599453}')
    assert "above 0.5" in Gate.read(path).describe()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{", "JSON"),
        ("[]", "object"),
        ('{"weights": {"mood": 1}}', "mean_logprob"),
        ('{"weights": [1]}', "weights"),
        ('{"weights": {"num_tokens": "1"}}', "num_tokens"),
        ('{"bias": null}', "bias"),
        ('{"threshold": true}', "threshold"),
        ('{"max_first_end_logprob": NaN}', "max_first_end_logprob"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "gate.json"
    path.write_text(text)
    with pytest.raises(GateError, match=named) as caught:
        Gate.read(path)
    assert str(path) in str(caught.value)
    with pytest.raises(GateError, match="cannot be read"):
        Gate.read(tmp_path / "none.json")


@pytest.fixture(scope="module")
def fim(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = checkpoints.write_qwen(tmp_path_factory.mktemp("fim"))
    checkpoints.write_diffusion_adapter(folder / "diffusion_adapter")
    return Engine.load(
        EngineConfig(model=str(folder), device="cpu", dtype="float32", num_threads=1)
    )


@pytest.fixture
def gated(fim: Engine) -> Iterator[Engine]:
    """An engine whose gate withholds everything."""
    fim.tools = replace(fim.tools, gate=EVERYTHING)
    yield fim
    fim.tools = replace(fim.tools, gate=NEVER)


def ask(engine: Engine, **wishes: object) -> Completion:
    request = CompletionRequest(prompt="def f(a):\n    ret", suffix="\n\nf(1)\n", max_tokens=12)
    return engine.complete(replace(request, **wishes))  # type: ignore[arg-type]


def test_a_withheld_answer_is_empty_and_says_so(gated: Engine) -> None:
    shown = ask(gated, gate=False)
    assert shown.choices[0].text and not shown.facts.gated
    assert set(shown.facts.gate_features) == set(FEATURES)
    withheld = ask(gated, n=3)
    (choice,) = withheld.choices
    assert (choice.text, choice.finish_reason) == ("", "stop")
    assert withheld.facts.gated
    # Calibration and the answer itself see the same.
    assert withheld.facts.gate_features == shown.facts.gate_features
    assert Completion.from_json(json.loads(json.dumps(withheld.to_json()))) == withheld


@pytest.mark.parametrize("mode", ["ar", "quad_spec", "linear_spec", "diffusion"])
def test_only_auto_has_a_gate(gated: Engine, mode: str) -> None:
    found = ask(gated, mode=mode)
    assert found.choices[0].text and not found.facts.gated
    assert found.facts.gate_features


def test_features_do_not_depend_on_the_mode(fim: Engine) -> None:
    """What calibration measured in one verified mode holds in the others."""
    expected = ask(fim, mode="ar").facts.gate_features
    for mode in ("auto", "quad_spec", "linear_spec"):
        assert ask(fim, mode=mode).facts.gate_features == pytest.approx(expected, abs=1e-3)


def test_a_gate_closed_at_the_first_token_saves_the_forwards(fim: Engine) -> None:
    fim.tools = replace(fim.tools, gate=Gate(max_first_end_logprob=-100.0))
    try:
        found = ask(fim, prompt="def f(a):\n")
    finally:
        fim.tools = replace(fim.tools, gate=NEVER)
    assert found.facts.gated and found.choices[0].text == ""
    assert found.facts.forwards == 0
    assert found.choices[0].finish_reason == "stop"


def test_streamed_text_is_not_taken_back(gated: Engine) -> None:
    for prompt in ("def f(a):\n    ret", "x", "def "):
        pieces: list[str] = []
        request = CompletionRequest(prompt=prompt, max_tokens=24, stream=True, stop_rules=False)
        found = gated.complete(request, emit=lambda i, text, pieces=pieces: pieces.append(text))
        assert "".join(pieces) == found.choices[0].text
        assert found.facts.gated == (found.choices[0].text == "")
