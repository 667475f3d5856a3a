"""Peers are timed in the same rounds, and one that is missing is told, not an error."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.bench import llama_peer
from engine.bench.completion_case import Asked, completion_lines
from engine.bench.forward_case import Grid, forward_lines
from engine.bench.llama_peer import LlamaPeer, llama_name
from engine.bench.paths import parse_paths
from engine.bench.peers import PeerChoice, PeerMissing, open_peers
from engine.bench.prefill_case import prefill_lines
from engine.bench.prompts import CodeHole
from engine.bench.rounds import Schedule, measure
from engine.bench.subject import Subject, load_subjects
from engine.bench.transformers_peer import TransformersPeer
from engine.config import EngineConfig

FAKE = Path(__file__).with_name("fake_llama.py")
HOLE = CodeHole("a", "def add(a, b):\n    return", "\n\nprint(add(1, 2))\n")


@pytest.fixture(scope="module")
def subject(qwen: Path) -> Subject:
    common = EngineConfig(model=str(qwen), device="cpu", num_threads=1)
    return load_subjects(parse_paths("fp32"), common, None)[0]


@pytest.fixture
def llama(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LlamaPeer]:
    monkeypatch.setattr(llama_peer, "DRIVER", FAKE)
    peer = LlamaPeer(PeerChoice(llama_python=Path(sys.executable)), tmp_path / "base.gguf", 3)
    yield peer
    peer.close()
    assert peer._process.poll() is not None


def asked_of(tmp_path: Path) -> list[dict[str, Any]]:
    lines = (tmp_path / "base.gguf").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_llama_is_asked_for_the_same_in_the_same_rounds(
    llama: LlamaPeer, subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama_peer, "MAX_CACHED", 1000)
    grid = Grid(["verify", "draft"], [8], [1, 2], [16, 8192])
    made = forward_lines([subject], [llama], grid)
    made += prefill_lines([subject], [llama], [20])
    completions, tallies = completion_lines(
        [subject], [llama], Asked([HOLE], ["ar"], [4], ["warm"])
    )
    made += completions
    peers = [line for line, _ in made if line.is_peer]
    # Only causal passes over one sequence, none behind more than it can read in good time.
    assert [line.name for line in peers] == [
        "llama.cpp base: verify block 8 rows 1 cached 16",
        "llama.cpp base: prefill 20",
        "llama.cpp base: 4 tokens warm",
    ]
    own = [line for line, _ in made if not line.is_peer]
    assert {line.group for line in peers} <= {line.group for line in own}
    measured = measure([variant for _, variant in made], Schedule(num_rounds=1))
    for line in peers:
        (sample,) = measured.samples[line.name]
        assert (sample.ms, sample.is_noisy) == (2.0, True)
    asked = {each["do"]: each for each in asked_of(tmp_path)}
    assert (asked["forward"]["block"], asked["forward"]["cached"]) == (8, 16)
    assert asked["prefill"]["length"] == 20
    assert asked["complete"]["warm"] is True
    # As many as the engine's own `ar` writes, of which the first may heal a word.
    (plain,) = [line for line in own if line.keys.get("mode") == "ar"]
    told = [tallies[name].to_json()["tokens"] for name in (plain.name, peers[-1].name)]
    assert asked["complete"]["num"] == told[0] == told[1] > 1
    assert asked["complete"]["ids"][0] == 20


def test_llama_waits_as_it_would_by_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Our own threads sleep at barriers, which costs llama.cpp half as much time again."""
    for name in ("OMP_WAIT_POLICY", "OMP_NUM_THREADS", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("NEMODIFF_KEPT", "1")
    driver = tmp_path / "driver.py"
    driver.write_text("import json, os\nprint(json.dumps({'version': ' '.join(os.environ)}))\n")
    monkeypatch.setattr(llama_peer, "DRIVER", driver)
    peer = LlamaPeer(PeerChoice(llama_python=Path(sys.executable)), tmp_path / "base.gguf", 3)
    peer.close()
    names = peer.version.split()
    assert "NEMODIFF_KEPT" in names
    assert not [each for each in names if each.startswith(("OMP_", "GOMP_", "KMP_"))]


def test_llama_is_named_by_its_quantisation_where_that_tells_files_apart() -> None:
    q8, q4 = Path("base-q8_0.gguf"), Path("base-q4_k_m.gguf")
    assert llama_name(q8, (q8, q4)) == "llama.cpp q8_0"
    assert llama_name(q8, (q8, Path("other-q8_0.gguf"))) == "llama.cpp base-q8_0"


def test_what_llama_cannot_do_is_one_sentence(llama: LlamaPeer) -> None:
    with pytest.raises(PeerMissing, match="unlucky"):
        llama.prefill(13)(0)


def test_peers_that_are_not_there_are_told(
    subject: Subject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def without(name: str) -> Any:
        if name == "transformers":
            raise ImportError(name)
        return importlib.__import__(name)

    monkeypatch.setattr("engine.bench.transformers_peer.importlib.import_module", without)
    files = (tmp_path / "a.gguf", tmp_path / "b.gguf")
    peers, told = open_peers(
        PeerChoice(llama_python=tmp_path / "no python", gguf_files=files), [subject]
    )
    assert peers == []
    assert told["transformers eager"] == "left out: transformers is not installed."
    assert "cannot be started" in told["llama.cpp a"]
    assert "cannot be started" in told["llama.cpp b"]
    _, told = open_peers(PeerChoice(use_transformers=False), [subject])
    assert "not asked for" in told["transformers eager"]
    assert "--llama-python" in told["llama.cpp"]


def test_an_interpreter_without_llama_is_told(tmp_path: Path, subject: Subject) -> None:
    """The real driver, in this interpreter, which has no llama-cpp-python."""
    if importlib.util.find_spec("llama_cpp"):
        pytest.skip("this interpreter has llama-cpp-python")
    choice = PeerChoice(False, Path(sys.executable), (tmp_path / "a.gguf",))
    peers, told = open_peers(choice, [subject])
    assert peers == []
    assert "not installed in the interpreter" in told["llama.cpp a"]


def test_transformers_computes_what_the_engine_does(subject: Subject) -> None:
    """The same weights: what is timed is the same pass."""
    pytest.importorskip("transformers")
    peer = TransformersPeer(subject)
    cache = subject.decoder.new_cache()
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    with torch.inference_mode():
        ours = subject.decoder.logits(
            subject.decoder.forward(ids, cache, visible=torch.ones(5, 5).tril().bool())
        )
    theirs = peer._pass(ids, peer._library.DynamicCache())[0]
    assert torch.allclose(ours, theirs, atol=1e-3)


def test_transformers_keeps_its_caches_at_their_lengths(subject: Subject) -> None:
    pytest.importorskip("transformers")
    peer = TransformersPeer(subject)
    forward = peer.forward(8, 16)
    assert forward(0).ms > 0
    assert forward(1).ms > 0
    assert peer._cache(16).get_seq_length() == 16
    warm = peer.completion([[1, 2, 3, 4]], [3], is_warm=True)
    assert warm(0).ms > 0
    assert warm(1).ms > 0
    assert peer._known is not None
    assert peer._known[1].get_seq_length() == 3
    cold = peer.completion([[1, 2, 3, 4]], [3], is_warm=False)
    assert cold(0).ms > 0
    assert peer.prefill(9)(0).ms > 0
    peer.close()


def test_transformers_of_random_weights_has_the_same_shape(subject: Subject) -> None:
    pytest.importorskip("transformers")
    drawn = replace(subject, engine=None)
    peer = TransformersPeer(drawn)
    found = peer._pass(torch.tensor([[1, 2, 3]]), peer._library.DynamicCache())
    assert found.shape == (1, 3, subject.decoder.config.vocab_size)
    assert bool(torch.isfinite(found).all())


def test_a_second_copy_that_does_not_fit_is_left_out(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("M", (), {"available": 1e9})())
    peers, told = open_peers(PeerChoice(), [subject])
    assert peers == []
    assert told["transformers eager"].startswith("left out: The same model in transformers would")


def test_transformers_has_no_class_for_the_tiny_model(tiny_config: EngineConfig) -> None:
    pytest.importorskip("transformers")
    nemotron = load_subjects(parse_paths("fp32"), tiny_config, None)
    peers, told = open_peers(PeerChoice(), nemotron)
    assert peers == []
    assert "no class for this model" in told["transformers eager"]
