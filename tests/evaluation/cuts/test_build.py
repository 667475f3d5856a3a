"""Rows cut from documents: excerpts of their files, the same for the same corpus and seed."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.evaluation.cuts import build
from engine.evaluation.cuts.build import SUITES, CutError, Row, cut, write_rows
from engine.evaluation.cuts.cursors import CURSOR_FINDERS
from engine.evaluation.cuts.holes import FINDERS
from engine.evaluation.cuts.parsing import has_new_errors, parses
from engine.training.corpus.shards import Document

from .sources import SOURCES, document, documents

DOCUMENTS = documents()
TEXTS = {(each.package, each.path): each.text for each in DOCUMENTS}

# Statements whose texts take more bytes than letters: offsets are bytes, rows are text.
_STATEMENTS = (
    "größe = other(first, second)",
    'name_of = "naïve café"  # ☃ a remark of some words',
    "# ☃ A remark that says it all in words.",
    'other_name = join("☃☃☃ and words", 2500, größe)',
    "self.value.append(compute(größe, limit=100))",
    "return compute(größe)[0] + limit",
    "if größe < compute(limit):\n        raise_it(größe)\n        count_it(limit)",
    "",
)


@st.composite
def python_files(draw: st.DrawFn) -> str:
    text = '"""What the module holds, with umlauts: äöü."""\n\nfrom somewhere import compute\n'
    for index in range(draw(st.integers(1, 6))):
        lines = draw(st.lists(st.sampled_from(_STATEMENTS), min_size=1, max_size=8))
        body = "".join(f"    {line}\n" if line else "\n" for line in lines)
        text += f"\n\ndef function_{index}(größe, limit):\n    pass\n{body}"
    return text


@pytest.mark.parametrize("suite", SUITES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts=st.lists(python_files(), min_size=1, max_size=3), seed=st.integers(0, 9))
def test_rows_are_excerpts_that_hold_no_comment(suite: str, texts: list[str], seed: int) -> None:
    files = [document("python", number=index, text=text) for index, text in enumerate(texts)]
    by_path = {each.path: each.text for each in files}
    for row in cut(files, suite, 40, seed=seed):  # type: ignore[arg-type]
        assert row.prompt + row.gold + row.suffix in by_path[row.path]
        assert "remark" not in row.gold
        assert "#" not in row.gold
        assert (row.gold == "") is (suite == "silent")


@pytest.mark.parametrize("suite", SUITES)
def test_every_language_and_kind_is_cut(suite: str) -> None:
    kinds = FINDERS if suite == "fresh" else CURSOR_FINDERS
    rows = cut(documents(4, 4), suite, 5 * len(kinds))  # type: ignore[arg-type]
    counts = Counter((row.language, row.kind) for row in rows)
    assert set(counts) == {(language, kind) for language in SOURCES for kind in kinds}


@pytest.mark.parametrize("suite", SUITES)
def test_rows_name_their_file_and_do_not_repeat(suite: str) -> None:
    rows = cut(DOCUMENTS, suite, 50)  # type: ignore[arg-type]
    assert len({row.task_id for row in rows}) == len(rows) > 20
    for row in rows:
        assert row.prompt + row.gold + row.suffix in TEXTS[row.package, row.path]
        assert row.cluster == row.package
        assert row.task_id.startswith(f"{suite}/{row.language}/{row.kind}/")
        assert len(row.prompt.encode()) >= 200


def test_with_gold_in_it_the_whole_file_parses() -> None:
    for row in cut(DOCUMENTS, "fresh", 50):
        if row.suffix_scope == "file":
            assert parses(row.language, row.prompt + row.gold + row.suffix)
            broken = f"{row.gold} (("
            assert has_new_errors(row.language, row.prompt, broken, row.suffix, gold=row.gold)


def test_every_other_hole_stands_at_the_end_of_what_is_written() -> None:
    rows = cut(DOCUMENTS, "fresh", 50)
    by_cell: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        by_cell.setdefault((row.language, row.kind), []).append(row)
    for cell in by_cell.values():
        scopes = [row.suffix_scope for row in cell]
        assert scopes == (["file", "statement"] * len(scopes))[: len(scopes)]
    for row in rows:
        text = TEXTS[row.package, row.path]
        if row.suffix_scope == "file":
            assert text.endswith(row.suffix)
        else:
            assert row.suffix.count("\n") <= 1


def test_silent_cursors_have_the_file_around_them() -> None:
    rows = cut(DOCUMENTS, "silent", 50)
    assert {row.suffix_scope for row in rows} == {"file"}
    assert all(row.prompt + row.suffix == TEXTS[row.package, row.path] for row in rows)


@pytest.mark.parametrize("suite", SUITES)
def test_the_same_corpus_and_seed_give_the_same_bytes(suite: str, tmp_path: Path) -> None:
    shuffled = list(DOCUMENTS)
    Random(1).shuffle(shuffled)
    paths = [tmp_path / name for name in ("a.jsonl.gz", "b.jsonl.gz", "c.jsonl.gz")]
    write_rows(paths[0], cut(DOCUMENTS, suite, 30))  # type: ignore[arg-type]
    write_rows(paths[1], cut(shuffled, suite, 30))  # type: ignore[arg-type]
    write_rows(paths[2], cut(DOCUMENTS, suite, 30, seed=1))  # type: ignore[arg-type]
    assert paths[0].read_bytes() == paths[1].read_bytes() != paths[2].read_bytes()
    # The header of gzip has room for a time.
    assert paths[0].read_bytes()[4:8] == bytes(4)


def test_of_a_large_package_the_same_files_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "MAX_FILES_PER_PACKAGE", 2)
    files = [document("python", number=number) for number in range(10)]
    rows = cut(files, "fresh", 20)
    assert len({row.path for row in rows}) == 2
    assert cut(files[::-1], "fresh", 20) == rows


def test_only_the_wanted_languages_are_cut() -> None:
    rows = cut(DOCUMENTS, "fresh", 50, languages=["go", "rust"])
    assert {row.language for row in rows} == {"go", "rust"}


def test_files_that_do_not_parse_or_are_short_are_passed_over() -> None:
    broken = [
        document("go", text=SOURCES["go"] + "func ) {\n"),
        document("python", text="value = other(first_name, 10)\n"),
    ]
    assert cut(broken, "fresh", 10) == []


def test_licences_come_with_the_rows() -> None:
    rows = cut(DOCUMENTS, "fresh", 10, licences={("pypi", "package-0"): "MIT"})
    assert {(row.package, row.licence) for row in rows} == {
        ("package-0", "MIT"),
        ("package-1", None),
    }


def test_rows_are_written_as_json_lines(tmp_path: Path) -> None:
    text = SOURCES["python"].replace("Counts of things.", "Counts \u2028 ☃.")
    rows = cut([document("python", text=text)], "silent", 3)
    path = tmp_path / "rows.jsonl.gz"
    write_rows(path, rows)
    lines = gzip.decompress(path.read_bytes()).decode().split("\n")[:-1]
    assert [json.loads(line)["prompt"] for line in lines] == [row.prompt for row in rows]
    with pytest.raises(CutError, match="cannot be written"):
        write_rows(tmp_path, rows)


def test_documents_of_one_name_in_two_registries_are_two_packages() -> None:
    python = document("python", package="same")
    other = Document("npm", "same", "1.0", "a.js", "javascript", SOURCES["javascript"])
    assert {row.language for row in cut([python, other], "fresh", 10)} == {"python", "javascript"}
