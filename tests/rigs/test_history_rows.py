"""History rows: a hole is what the commit did, seen from the middle of it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from nemodiff_lsp.bench.history_rows import Hole, holes_of, main
from nemodiff_lsp.bench.typing_trace import Edit, Sitting
from tests.rigs.commits import committed

BEFORE = "def load_table(path):\n    return open(path)\n"
FIRST = Sitting(
    "c", "a.py", "python", BEFORE, (Edit(len(BEFORE), 0, "def close_table(it):\n    it.close()\n"),)
)
USER = "from a import load_table\n\nwith load_table() as t:\n    print(t)\n"
SECOND = Sitting(
    "c", "b.py", "python", USER, (Edit(len(USER) - 1, 0, "\n    close_table(t)\n    x = 1"),)
)


def test_the_hole_is_the_rest_of_the_line_that_uses_the_new_name() -> None:
    assert list(holes_of([FIRST, SECOND])) == [
        Hole(SECOND, USER[:-1] + "\n    ", "close_table(t)", "\n", (FIRST,))
    ]


def test_other_languages_known_names_and_files_edited_later_make_no_hole() -> None:
    lua = Sitting("c", "b.lua", "lua", SECOND.base, SECOND.edits)
    assert list(holes_of([FIRST, lua])) == []
    note = "# close_table\n"
    knowing = Sitting(
        "c",
        "b.py",
        "python",
        note + USER,
        tuple(Edit(e.offset + len(note), 0, e.inserted) for e in SECOND.edits),
    )
    assert knowing.result() == note + SECOND.result()
    assert list(holes_of([FIRST, knowing])) == []
    assert list(holes_of([SECOND])) == []


def test_rows_of_a_repository(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository = tmp_path / "repository"
    committed(repository, {"a.py": BEFORE, "b.py": "# nothing yet\n"})
    committed(repository, {"b.py": USER})
    committed(repository, {"a.py": FIRST.result(), "b.py": SECOND.result()})
    assert main(["--repo", str(repository), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.startswith("1 of 1 holes")
    rows = {
        path.name.removeprefix("history-").removesuffix(".jsonl.gz"): one_row(path)
        for path in (tmp_path / "out").iterdir()
    }
    assert set(rows) == {"none", "recent", "neighbours", "recent+neighbours"}
    assert "context" not in rows["none"]
    (recent,) = rows["recent"]["context"]
    assert recent["path"] == "a.py" and "def close_table(it):" in recent["text"]
    assert all(row["gold"] == "close_table(t)" for row in rows.values())


def test_a_folder_without_history_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--repo", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.startswith("nemodiff bench: git failed")


def one_row(path: Path) -> dict[str, Any]:
    (row,) = [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]
    return dict(row)
