"""Shards: written and read again, limited in size, told apart when damaged."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.training.corpus.errors import CorpusError
from engine.training.corpus.shards import Document, ShardWriter, read_corpus
from engine.training.corpus.spool import Spool

from .builders import module


def _document(number: int) -> Document:
    return Document("pypi", "alpha", "1.0", f"alpha/m{number}.py", "python", module(f"m{number}"))


def _write(folder: Path, documents: list[Document], max_bytes: int = 2**20) -> None:
    with Spool(folder / "spool") as spool:
        for document in documents:
            spool.add(document)
        spool.write_shards(folder / "train", max_bytes)


def test_documents_come_back_as_they_were(tmp_path: Path) -> None:
    documents = [_document(number) for number in range(20)]
    _write(tmp_path, documents)
    found = list(read_corpus(tmp_path, "train"))
    assert sorted(found, key=lambda document: document.path) == sorted(
        documents, key=lambda document: document.path
    )
    assert found != documents, "they are shuffled"


@given(text=st.text(st.characters(codec="utf-8"), max_size=200))
def test_any_text_survives(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("corpus")
    document = Document("npm", "@a/b", "1", "a.ts", "typescript", text)
    _write(folder, [document])
    assert list(read_corpus(folder, "train")) == [document]


def test_the_order_does_not_depend_on_the_order_of_arrival(tmp_path: Path) -> None:
    documents = [_document(number) for number in range(20)]
    for name, order in (("one", documents), ("other", documents[::-1])):
        (tmp_path / name).mkdir()
        _write(tmp_path / name, order)
    shards = [(tmp_path / name / "train/shard-00000.jsonl.gz") for name in ("one", "other")]
    assert shards[0].read_bytes() == shards[1].read_bytes()


def test_shards_stay_below_their_limit(tmp_path: Path) -> None:
    documents = [_document(number) for number in range(300)]
    _write(tmp_path, documents, max_bytes=40_000)
    shards = sorted((tmp_path / "train").iterdir())
    assert len(shards) > 1
    assert all(shard.stat().st_size <= 40_000 for shard in shards)
    assert [shard.name for shard in shards[:2]] == ["shard-00000.jsonl.gz", "shard-00001.jsonl.gz"]
    assert len(list(read_corpus(tmp_path, "train"))) == 300


def test_shards_of_an_earlier_attempt_go(tmp_path: Path) -> None:
    _write(tmp_path, [_document(number) for number in range(300)], max_bytes=40_000)
    _write(tmp_path, [_document(1)])
    assert len(list((tmp_path / "train").iterdir())) == 1


def test_an_empty_split_is_an_empty_corpus(tmp_path: Path) -> None:
    _write(tmp_path, [])
    assert list(read_corpus(tmp_path, "train")) == []


def test_a_missing_corpus_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"nothing.*holds no shard.*nemodiff train data"):
        read_corpus(tmp_path / "nothing", "train")
    with pytest.raises(CorpusError, match="no split 'test'; use train or heldout"):
        read_corpus(tmp_path, "test")


@pytest.mark.parametrize(
    "content",
    [
        b"no gzip",
        gzip.compress(b'{"text": "x"}\n', mtime=0),
        gzip.compress(b"[1]\n", mtime=0),
        gzip.compress(b"{]\n", mtime=0),
        gzip.compress(b"\xff\xfe\n", mtime=0),
        gzip.compress(json.dumps({"ecosystem": 1}).encode(), mtime=0),
        gzip.compress(b"x" * 1000, mtime=0)[:-9],
    ],
    # Compressed bytes hold the time and must not become names: workers would not agree on them.
    ids=["no gzip", "fields missing", "no object", "no JSON", "no UTF-8", "no text", "cut short"],
)
def test_a_damaged_shard_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train/shard-00000.jsonl.gz").write_bytes(content)
    with pytest.raises(CorpusError, match=r"shard-00000.jsonl.gz is damaged after line 0 .*\.$"):
        list(read_corpus(tmp_path, "train"))


def test_a_shard_that_was_cut_short_gives_what_it_has_and_then_says_so(tmp_path: Path) -> None:
    _write(tmp_path, [_document(number) for number in range(100)])
    path = tmp_path / "train/shard-00000.jsonl.gz"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    documents = read_corpus(tmp_path, "train")
    assert next(documents).package == "alpha"
    with pytest.raises(CorpusError, match="is damaged after line"):
        list(documents)


def test_the_writer_closes_what_it_wrote_when_the_block_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), ShardWriter(tmp_path / "train") as shards:
        shards.write(_document(1).to_json().encode())
        raise RuntimeError
    assert len(list(read_corpus(tmp_path, "train"))) == 1
