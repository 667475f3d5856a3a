"""The log's filter: what stays of records by us and by others, at and above DEBUG."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nemodiff_lsp.logs import configure_logging

CANARY = "kanarienvogel"


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Sets logging up at a level, into a file; the test run's own logging comes back after."""
    root = logging.getLogger()
    names = (
        "nemodiff_lsp",
        "engine",
        "__main__",
        "pygls",
        "asyncio",
        "httpx",
        "httpcore",
        "cattrs",
    )
    levels = {name: logging.getLogger(name).level for name in names}
    handlers, level = root.handlers[:], root.level

    def configure(level: str) -> Path:
        configure_logging(level, tmp_path / "log")
        return tmp_path / "log"

    yield configure
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)


def log_everything() -> None:
    for name in ("nemodiff_lsp.x", "pygls.server", "some_library_added_later", "asyncio"):
        logger = logging.getLogger(name)
        is_own = name.startswith("nemodiff_lsp")
        for level in (logging.INFO, logging.WARNING, logging.ERROR):
            logger.log(level, "%s from " + name, "words" if is_own else CANARY)
        try:
            raise ValueError(CANARY)
        except ValueError:
            logger.exception("It failed:", stack_info=True)


@pytest.mark.parametrize("level", ["INFO", "WARNING", "ERROR"])
def test_above_debug_no_value_stays(logged: Callable[[str], Path], level: str) -> None:
    path = logged(level)
    log_everything()
    text = path.read_text()
    assert CANARY not in text
    assert text.count("(ValueError") == 4, "that it failed, and how, is told"
    assert "test_privacy_logs.py:" in text, "for our own code also where"
    assert ("words from nemodiff_lsp.x" in text) is True
    assert text.count(" INFO ") == (1 if level == "INFO" else 0), "others' chatter is no news"


def test_at_debug_all_is_told(logged: Callable[[str], Path]) -> None:
    path = logged("DEBUG")
    log_everything()
    assert "ValueError: kanarienvogel" in path.read_text()
    assert " INFO pygls" not in path.read_text()
