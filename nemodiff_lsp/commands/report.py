"""`nemodiff.report`: a plain text for a bug report, with no source text and no path in it.

Called by `commands.py`.
"""

from __future__ import annotations

import logging
import platform
import re
from collections import deque
from collections.abc import Iterable
from dataclasses import fields

from engine import __version__
from nemodiff_lsp.commands.host import Host
from nemodiff_lsp.settings.settings import Settings

_MAX_PROBLEMS = 20
_LIBRARIES = ("pygls", "lsprotocol", "httpx", "tree-sitter")
# Two or more names with slashes, a drive, a home folder, or anything with a scheme.
_PATH = re.compile(
    r"(?:[A-Za-z][A-Za-z0-9+.-]*://\S*)|(?:\b[A-Za-z]+:)?(?:~|\.{1,2})?(?:[\\/][^\s\\/'\",;:()`]+)+[\\/]?"
)
_COUNTS = ("asked", "shown", "accepted", "partly_accepted", "typed_through", "dismissed")
# What a user may have named after a client, a project or a folder.
_TELLING = ("model", "engine_socket", "engine_url", "exclude_patterns")


class ProblemLog(logging.Handler):
    """Keeps the last warnings and errors of the language server's own loggers, without paths."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._lines: deque[str] = deque(maxlen=_MAX_PROBLEMS)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.append(f"{record.levelname}: {without_paths(record.getMessage())}")
        except Exception:
            self.handleError(record)

    def lines(self) -> list[str]:
        return list(self._lines)


def without_paths(text: str) -> str:
    """`text` with ``<path>`` for whatever looks like a path or an address."""
    return _PATH.sub("<path>", text)


def report_text(
    host: Host,
    *,
    client: str,
    problems: Iterable[str],
) -> str:
    """The report. client: name and version of the editor."""
    sections = {
        "NemoDiff": _versions(client),
        "Status": [without_paths(host.status.sentence())],
        "Last request": [without_paths(host.why.last(None))],
        "Settings that differ from the defaults": _settings(host.settings),
        "Engine": _engine(host),
        "Statistics of all windows": _statistics(host),
        "Last problems": list(problems),
    }
    parts = []
    for title, lines in sections.items():
        body = "\n".join(f"  {line}" for line in lines) or "  none"
        parts.append(f"{title}\n{body}")
    return "\n\n".join(parts) + "\n"


def _versions(client: str) -> list[str]:
    # Slow to import, and needed by nobody else.
    from importlib import metadata

    lines = [
        f"nemodiff {__version__}",
        f"Python {platform.python_version()} on {platform.system()} {platform.machine()}",
        f"editor: {without_paths(client) or 'unknown'}",
    ]
    for name in _LIBRARIES:
        try:
            lines.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            lines.append(f"{name} is not installed")
    return lines


def _settings(settings: Settings) -> list[str]:
    lines = []
    for field in fields(settings):
        value = getattr(settings, field.name)
        if value == field.default:
            continue
        shown = "(set)" if field.name in _TELLING else without_paths(repr(value))
        lines.append(f"{field.name} = {shown}")
    return lines


def _engine(host: Host) -> list[str]:
    state = host.link.state
    return [f"state: {state.kind}", without_paths(state.message)]


def _statistics(host: Host) -> list[str]:
    """Of all windows; the figures that tell how well it works here."""
    from nemodiff_lsp.stats.store import StatsStore, state_folder
    from nemodiff_lsp.stats.summary import Summary

    host.recorder.flush()
    try:
        summary = Summary.of(StatsStore(state_folder()).days())
    except (OSError, ValueError) as error:
        return [f"cannot be read ({type(error).__name__})"]
    if summary.is_empty:
        return []
    counts = (f"{name.replace('_', ' ')}: {summary.number(name)}" for name in _COUNTS)
    stages = (
        f"{stage.name}: p50 {stage.p50_ms:.1f} ms, p90 {stage.p90_ms:.1f} ms, "
        f"p99 {stage.p99_ms:.1f} ms ({stage.num})"
        for stage in summary.stages()
    )
    why = (f"nothing shown: {without_paths(why)} ({num})" for why, num in summary.reasons()[:5])
    return [*counts, *stages, *why]
