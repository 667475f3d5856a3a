"""`nemodiff stats`: prints the statistics, writes them as a page, or forgets them.

Run by `engine/cli/stats.py`. Reads one local file and opens no connection.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from nemodiff_lsp.stats.page import write_page
from nemodiff_lsp.stats.store import StatsBusy, StatsStore, state_folder
from nemodiff_lsp.stats.summary import SOURCE_NAMES, SOURCES, Summary, percent

_MAX_LINES = 12


def run(*, html: Path | None, is_json: bool, is_reset: bool) -> int:
    """Do what was asked for; the exit code. Raises OSError when a file cannot be written."""
    store = StatsStore(state_folder())
    if is_reset:
        try:
            had_any = store.reset()
        except StatsBusy as busy:
            sys.stderr.write(f"nemodiff: {busy}\n")
            return 1
        _say("The statistics are forgotten." if had_any else "There were no statistics.")
        return 0
    summary = Summary.of(store.days())
    if html is not None:
        write_page(summary, html)
        _say(f"Written to {html}.")
    elif is_json:
        _say(json.dumps({"total": summary.total, "days": dict(summary.days)}))
    elif summary.is_empty:
        _say("Nothing has been counted yet.")
    else:
        print_tables(summary, Console())
    return 0


def print_tables(summary: Summary, console: Console) -> None:
    """All figures as tables."""
    for table in (_totals(summary), _survival(summary), _stages(summary), _languages(summary)):
        console.print(table)
    if reasons := summary.reasons():
        table = Table("why nothing was offered", _right("times"))
        for why, number in reasons[:_MAX_LINES]:
            table.add_row(why, f"{number:,}")
        console.print(table)


def _totals(summary: Summary) -> Table:
    table = Table("completions", _right("number"), _right("characters"), _right("of shown"))
    shown = summary.number("shown")
    table.add_row("asked for", f"{summary.number('asked'):,}", "", "")
    for source in SOURCES:
        number = summary.number("answered", source)
        table.add_row(f"  answered {SOURCE_NAMES[source]}", f"{number:,}", "", "")
    for name, chars in (
        ("shown", "shown_chars"),
        ("accepted", "accepted_chars"),
        ("partly_accepted", "partly_chars"),
        ("typed_through", "typed_chars"),
        ("dismissed", ""),
    ):
        number = summary.number(name)
        held = f"{summary.number(chars):,}" if chars else ""
        share = "" if name == "shown" else percent(number, shown)
        table.add_row(name.replace("_", " "), f"{number:,}", held, share)
    spent, saved = summary.number("forwards_spent"), summary.number("forwards_saved")
    table.add_row("forwards spent", f"{spent:,}", "", "")
    table.add_row("forwards saved", f"{saved:,}", "", "")
    return table


def _survival(summary: Summary) -> Table:
    table = Table(
        "accepted, still there after", _right("looked at"), _right("kept"), _right("characters")
    )
    for each in summary.survival():
        table.add_row(
            f"{each.after_s} s",
            f"{each.num_checked:,}",
            percent(each.num_kept, each.num_checked),
            percent(each.num_kept_chars, each.num_chars),
        )
    return table


def _stages(summary: Summary) -> Table:
    table = Table("stage, in ms", *(_right(name) for name in ("number", "p50", "p90", "p99")))
    for stage in summary.stages():
        times = (f"{each:,.1f}" for each in (stage.p50_ms, stage.p90_ms, stage.p99_ms))
        table.add_row(stage.name, f"{stage.num:,}", *times)
    return table


def _languages(summary: Summary) -> Table:
    table = Table(
        "language", *(_right(name) for name in ("asked", "shown", "accepted", "of shown"))
    )
    for each in summary.languages()[:_MAX_LINES]:
        numbers = (f"{number:,}" for number in (each.num_asked, each.num_shown, each.num_accepted))
        table.add_row(each.name, *numbers, percent(each.num_accepted, each.num_shown))
    return table


def _right(name: str) -> Column:
    return Column(name, justify="right")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
