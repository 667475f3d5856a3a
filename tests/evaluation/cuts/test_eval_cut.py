"""The command `cut`: files out of a corpus folder, and one sentence where that cannot be."""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from pathlib import Path

import pytest

from engine.cli import eval_cut
from engine.errors import EngineError
from engine.evaluation.cuts import parsing
from engine.evaluation.dataset import read_fresh, read_silent

from .sources import documents, write_heldout


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    write_heldout(folder, documents())
    return folder


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    eval_cut.add_parser(parser.add_subparsers())
    args = parser.parse_args(["cut", *map(str, arguments)])
    code: int = args.run(args)
    return code


@pytest.mark.parametrize("suite", ["fresh", "silent"])
def test_rows_are_cut_written_and_counted(
    corpus: Path, tmp_path: Path, suite: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "rows.jsonl.gz"
    assert run("--corpus", corpus, "--out", out, "--suite", suite, "--num", 25) == 0
    printed = capsys.readouterr()
    assert "25 rows of 2 packages, at most 13 of one package." in printed.out
    assert "| python |" in printed.out
    assert printed.err == ""
    read = read_fresh if suite == "fresh" else read_silent
    assert len(read(out).rows) == 25


def test_fewer_rows_than_wanted_are_told(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "rows.jsonl.gz"
    run("--corpus", corpus, "--out", out, "--suite", "fresh", "--num", 9999, "--languages", "go")
    assert "of 9999 rows" in capsys.readouterr().err


def test_licences_are_those_of_the_manifest(corpus: Path, tmp_path: Path) -> None:
    entry = {"ecosystem": "pypi", "name": "package-1", "licence": "ISC"}
    (corpus / "manifest.jsonl").write_text(json.dumps(entry) + "\n")
    out = tmp_path / "rows.jsonl.gz"
    run("--corpus", corpus, "--out", out, "--suite", "fresh", "--num", 10)
    rows = [json.loads(line) for line in gzip.decompress(out.read_bytes()).splitlines()]
    assert {(row["package"], row["licence"]) for row in rows} == {
        ("package-0", None),
        ("package-1", "ISC"),
    }


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_a_package_that_the_manifest_counts_as_training_is_named(
    corpus: Path, tmp_path: Path, split: str, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = {"ecosystem": "pypi", "name": "package-1", "split": split}
    (corpus / "manifest.jsonl").write_text(json.dumps(entry) + "\n")
    out = tmp_path / "rows.jsonl.gz"
    run("--corpus", corpus, "--out", out, "--suite", "fresh", "--num", 10)
    told = capsys.readouterr().err
    assert told.startswith("package-1: held out, but") is (split == "train")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--languages", "cobol"), "no grammar for the language 'cobol'"),
        (("--corpus", "absent"), r"absent/heldout holds no shard"),
        (("--out", "absent/rows.jsonl.gz"), "folder absent of --out does not exist"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_sentence(
    corpus: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    given = {
        "--corpus": str(corpus),
        "--out": str(tmp_path / "rows.jsonl.gz"),
        "--suite": "fresh",
        "--num": "5",
        **dict([arguments]),
    }
    with pytest.raises(EngineError, match=message) as caught:
        run(*(part for item in given.items() for part in item))
    assert "\n" not in str(caught.value)


def test_a_corpus_without_a_place_to_cut_is_refused(tmp_path: Path) -> None:
    write_heldout(tmp_path, documents(1, 1)[:1])
    out = tmp_path / "rows.jsonl.gz"
    with pytest.raises(EngineError, match="no place to cut in rust code"):
        run(
            *("--corpus", tmp_path, "--out", out, "--suite", "fresh", "--num", 5),
            *("--languages", "rust"),
        )
    assert not out.exists()


def test_without_tree_sitter_it_is_named(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tree_sitter", None)
    parsing._grammars.cache_clear()
    with pytest.raises(EngineError, match="tree_sitter is missing"):
        run("--corpus", corpus, "--out", tmp_path / "r.jsonl.gz", "--suite", "fresh", "--num", 5)


@pytest.mark.parametrize(
    "arguments", [("--num", "0"), ("--suite", "loud"), ("--out", "rows.json"), ("--num", "many")]
)
def test_wrong_usage_is_refused(corpus: Path, arguments: tuple[str, str]) -> None:
    given = {"--corpus": str(corpus), "--out": "a.jsonl.gz", "--suite": "fresh", "--num": "5"}
    given |= dict([arguments])
    with pytest.raises(SystemExit) as caught:
        run(*(part for item in given.items() for part in item))
    assert caught.value.code == 2
