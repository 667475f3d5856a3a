"""``nemodiff models pull|list|verify|remove``: what is in the cache folder, and how it gets there.

Registered by `engine.cli.main`. Other commands that may have to fetch a model borrow
`progress_on_stderr`.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from engine.config import DEFAULT_MODEL
from engine.weights import store
from engine.weights.catalog import CATALOG
from engine.weights.errors import WeightsError
from engine.weights.progress import Report


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``models`` and its four subcommands."""
    parser = commands.add_parser("models", help="download, list, check and remove models")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    pull = actions.add_parser("pull", help="download a model and prepare it for use")
    pull.add_argument("name", nargs="?", default=DEFAULT_MODEL, metavar="NAME")
    pull.add_argument("--offline", action="store_true", help="fail instead of downloading")
    actions.add_parser("list", help="the known models and which of them are installed")
    verify = actions.add_parser("verify", help="hash the files of installed models again")
    verify.add_argument("name", nargs="?", metavar="NAME", help="default: every installed model")
    remove = actions.add_parser("remove", help="delete an installed model")
    remove.add_argument("name", metavar="NAME")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out one subcommand; exit code 0, or 1 with one sentence on stderr."""
    try:
        if args.action == "pull":
            _pull(args.name, offline=args.offline)
        elif args.action == "list":
            _list()
        elif args.action == "verify":
            _verify(args.name)
        else:
            print(f"removed {store.remove(args.name)}")
    except WeightsError as error:
        print(f"nemodiff: {error}", file=sys.stderr)
        return 1
    return 0


@contextlib.contextmanager
def progress_on_stderr() -> Iterator[Report]:
    """A Report that draws one bar on stderr while the block runs, and wipes it at the end.

    Where stderr is no terminal, each new phase is one line instead.
    """
    console = Console(stderr=True)
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = bar.add_task("", total=None, visible=False)
    last_phase = ""

    def report(phase: str, fraction: float | None) -> None:
        nonlocal last_phase
        if phase != last_phase:
            last_phase = phase
            bar.reset(task, total=None, description=phase, visible=True)
            if not console.is_terminal:
                print(phase, file=sys.stderr, flush=True)
        if fraction is not None:
            bar.update(task, total=1.0, completed=fraction)

    with bar:
        yield report


def _pull(name: str, *, offline: bool) -> None:
    # Imported here: the importer brings torch, which `list` and `remove` do without.
    from engine.weights.pull import pull

    with progress_on_stderr() as report:
        folder = pull(name, offline=offline, report=report)
    print(folder)


def _list() -> None:
    installed = {model.name: model for model in store.list_installed()}
    rows = [("NAME", "SIZE", "LICENCE", "INSTALLED", "PATH")]
    for entry in CATALOG:
        model = installed.pop(entry.name, None)
        size = _size(model.num_bytes) if model else f"{_size(entry.num_bytes)} to download"
        path = str(model.folder) if model else "-"
        rows.append((entry.name, size, entry.licence, _state(model), path))
    for model in installed.values():
        licence = str(model.source.get("licence", "unknown"))
        rows.append((model.name, _size(model.num_bytes), licence, _state(model), str(model.folder)))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[4]]))


def _state(model: store.InstalledModel | None) -> str:
    if model is None:
        return "no"
    # By size only: hashing gigabytes is what `verify` is for.
    return "yes" if store.is_whole(model) else "damaged"


def _verify(name: str | None) -> None:
    models = store.list_installed()
    unusable = store.list_unusable()
    if name is not None:
        models = [model for model in models if model.name == name]
        unusable = [folder for folder in unusable if folder.name == name]
    if not models and not unusable:
        missing = "No model is installed" if name is None else f"Model {name!r} is not installed"
        raise WeightsError(f"{missing}; `nemodiff models pull` gets the default one.")
    for model in models:
        with progress_on_stderr() as report:
            store.verify(model, report)
        print(f"{model.name}: {len(model.files)} files are as they were written")
    if unusable:
        folder = unusable[0]
        raise WeightsError(
            f"{folder} is damaged or of another version: its {store.IMPORT_FILE} cannot be used; "
            f"run `nemodiff models remove {folder.name}` and pull it again."
        )


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.2f} GB"
