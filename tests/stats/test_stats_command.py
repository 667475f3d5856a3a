"""`nemodiff stats`: tables, the page, the reset; without a network and without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from engine.cli.main import main
from nemodiff_lsp.stats.page import page_of
from nemodiff_lsp.stats.recorder import Recorder
from nemodiff_lsp.stats.store import StatsStore
from nemodiff_lsp.stats.summary import Summary


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NEMODIFF_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path / "state"


@pytest.fixture
def counted(folder: Path) -> Path:
    for day in ("2026-11-20", "2026-11-21"):
        recorder = Recorder(StatsStore(folder), today=lambda day=day: day)
        for number in range(10):
            recorder.asked(trigger="automatic", language_id="python")
            source = "offer" if number % 2 else "engine"
            stages = {"engine": 100.0, "total": 10.0 * (number + 1)}
            recorder.answered(source=source, stages_ms=stages, forwards=7, why=None)
            recorder.shown(f"{number}", 20, "python")
        recorder.accepted("1", 20)
        recorder.survived(15, 20, 18, is_kept=True)
        recorder.answered(
            source="none", stages_ms={}, forwards=0, why="The file is ignored by git."
        )
        recorder.close()
    return folder


def test_tables(counted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats"]) == 0
    output = capsys.readouterr().out
    cells = [
        [cell.strip() for cell in line.strip("│┃ ").replace("┃", "│").split("│")]
        for line in output.splitlines()
    ]
    assert ["accepted", "2", "40", "10.0 %"] in cells
    assert ["forwards saved", "70", "", ""] in [[*row, *[""] * (4 - len(row))] for row in cells]
    assert ["15 s", "2", "100.0 %", "90.0 %"] in cells
    assert ["The file is ignored by git.", "2"] in cells
    total = next(row for row in cells if row[0] == "total")
    assert total[1] == "20"
    assert [round(float(each) / 10) for each in total[2:]] == [5, 9, 10]


def test_before_anything_was_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats"]) == 0
    assert "Nothing has been counted yet." in capsys.readouterr().out
    assert main(["stats", "--reset"]) == 0
    assert "There were no statistics." in capsys.readouterr().out
    assert not folder.exists(), "looking leaves nothing behind"


def test_json_and_reset(counted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats", "--json"]) == 0
    held = json.loads(capsys.readouterr().out)
    assert held["total"]["shown"] == 20
    assert list(held["days"]) == ["2026-11-20", "2026-11-21"]
    assert main(["stats", "--reset"]) == 0
    assert main(["stats", "--json"]) == 0
    assert '"total": {}' in capsys.readouterr().out


def test_the_page_stands_alone(counted: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert main(["stats", "--html", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    attributes: list[tuple[str, str | None]] = []
    tags: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append(tag)
            attributes.extend(attrs)

    Reader().feed(text)
    assert tags.count("svg") == 5
    assert not {"script", "link", "img", "iframe", "object"} & set(tags)
    assert not {"src", "href", "xlink:href", "onload"} & {name for name, _ in attributes}
    assert "http://" not in text and "https://" not in text and "url(" not in text
    assert "default-src 'none'" in text
    start = text.index("<svg")
    drawing = ElementTree.fromstring(text[start : text.index("</svg>", start) + 6])
    bars = drawing.findall("rect")
    assert [bar.get("class") for bar in bars] == ["a", "b", "a", "b"]
    heights = [float(bar.get("height", "0")) for bar in bars]
    assert heights[0] == heights[2] > heights[1] == heights[3] > 0
    assert list(page.parent.glob(".page*")) == []


def test_an_empty_page_says_so() -> None:
    assert page_of(Summary.of({})).count("Nothing yet.") == 5


def test_names_are_escaped() -> None:
    days = {"2026-11-21": {"languages": {"<b>&": {"shown": 1}}, "shown": 1}}
    text = page_of(Summary.of(days))
    assert "<b>" not in text and "&lt;b&gt;&amp;" in text


def test_a_page_that_cannot_be_written_is_one_sentence(
    counted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stats", "--html", str(tmp_path / "none" / "page.html")]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_it_needs_neither_torch_nor_a_socket(counted: Path) -> None:
    program = (
        "import socket, sys\n"
        "socket.socket = None\n"
        "from engine.cli.main import main\n"
        "code = main(['stats'])\n"
        "sys.exit(code or 10 * ('torch' in sys.modules))\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
