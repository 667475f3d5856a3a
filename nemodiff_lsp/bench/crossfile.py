"""Cross-file rows: holes that need another file, with what each source of context finds for them.

`python -m nemodiff_lsp.bench.crossfile --rows fresh.jsonl.gz --files DIR --out DIR`, where rows and
files come from `nemodiff eval cut --suite fresh --files-out DIR`. Writes one file of the same rows
for each source, for `nemodiff eval fresh`; no engine is needed here.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import re
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pygls.uris import from_fs_path

from engine.messages.completion import Snippet
from nemodiff_lsp.context.collector import ContextCollector, Cursor, Source

# What a user may have open besides: the nearest files of the package.
_NUM_OPEN = 8
MAX_CHARS = 2_400
_WORD = re.compile(r"[A-Za-z_]\w{3,}")
_ARMS: dict[str, tuple[Source, ...]] = {
    "none": (),
    "imports": ("imports",),
    "neighbours": ("neighbours",),
    "both": ("imports", "neighbours"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Write the rows; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m nemodiff_lsp.bench.crossfile")
    parser.add_argument("--rows", type=Path, required=True, metavar="FILE")
    parser.add_argument("--files", type=Path, required=True, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--limit", type=int, default=None, metavar="N", help="rows at most")
    args = parser.parse_args(argv)
    rows = _read(args.rows)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in _ARMS}
    for row in rows:
        contexts = asyncio.run(_contexts(row, args.files))
        if contexts is None or not _needs_another_file(row, contexts["imports"]):
            continue
        for name, snippets in contexts.items():
            found[name].append(with_context(row, snippets))
        if len(found["none"]) == args.limit:
            break
    write_arms(args.out, "crossfile", found)
    told = f"{len(found['none'])} of {len(rows)} rows use a name that another file defines.\n"
    sys.stdout.write(told)
    return 0 if found["none"] else 1


def _read(path: Path) -> list[dict[str, Any]]:
    text = gzip.decompress(path.read_bytes()).decode("utf-8")
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def with_context(row: dict[str, Any], snippets: Sequence[Snippet]) -> dict[str, Any]:
    """`row` with `snippets`; without any its path stays out of the prompt, too."""
    if not snippets:
        return {name: value for name, value in row.items() if name != "context"}
    return {**row, "context": [asdict(each) for each in snippets]}


def write_arms(folder: Path, name: str, arms: dict[str, list[dict[str, Any]]]) -> None:
    """One file ``NAME-ARM.jsonl.gz`` in `folder` for each arm."""
    folder.mkdir(parents=True, exist_ok=True)
    for arm, rows in arms.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}-{arm}.jsonl.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def _needs_another_file(row: dict[str, Any], snippets: Iterable[Snippet]) -> bool:
    """A word of the right answer stands in a definition elsewhere, and not before the cursor."""
    defined = {word for each in snippets for word in _WORD.findall(each.text)}
    return bool((set(_WORD.findall(row["gold"])) & defined) - set(_WORD.findall(row["prompt"])))


async def _contexts(row: dict[str, Any], files: Path) -> dict[str, tuple[Snippet, ...]] | None:
    """What each arm finds; None where the row's file is not among the files."""
    # Packages lie in a folder for each registry, which the rows do not name.
    folders = [each / str(row["package"]) for each in sorted(files.resolve().iterdir())]
    folder = next((each for each in folders if (each / str(row["path"])).is_file()), None)
    if folder is None:
        return None
    path = folder / str(row["path"])
    try:
        text = path.read_text("utf-8")
    except OSError:
        return None
    begin = text.find(row["prompt"] + row["gold"])
    if begin < 0:
        return None
    cursor_at = begin + len(row["prompt"])
    # The answer itself is not in the document that the sources look at.
    document = text[:cursor_at] + text[cursor_at + len(row["gold"]) :]
    opened = {str(each): each.read_text("utf-8", "replace") for each in _nearest(path, folder)}
    opened[str(path)] = document
    return {name: await _ask(sources, folder, path, opened, row) for name, sources in _ARMS.items()}


async def _ask(
    sources: Collection[Source],
    folder: Path,
    path: Path,
    opened: dict[str, str],
    row: dict[str, Any],
) -> tuple[Snippet, ...]:
    lines = {str(from_fs_path(name)): text.splitlines(True) for name, text in opened.items()}
    collector = ContextCollector(
        [folder],
        is_allowed=lambda uri, text: True,
        lines_of=lines.get,
        sources=sources,
        patience_s=60.0,
    )
    for uri in lines:
        collector.opened(uri, row["language"])
    cursor = Cursor(str(from_fs_path(str(path))), row["language"], row["prompt"])
    return await collector.snippets(cursor, max_chars=MAX_CHARS)


def _nearest(path: Path, folder: Path) -> list[Path]:
    """Other files of the same ending: of the same folder first, then by name."""
    others = [each for each in sorted(folder.rglob(f"*{path.suffix}")) if each != path]
    return sorted(others, key=lambda each: (each.parent != path.parent, str(each)))[:_NUM_OPEN]


if __name__ == "__main__":
    sys.exit(main())
