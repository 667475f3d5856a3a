"""From held-out documents to the rows of an evaluation set.

Called by `engine.cli.eval_cut`. Every step depends on the seed and the documents alone, not on
their order: the same corpus and seed give the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Literal, get_args

from engine.errors import EngineError
from engine.evaluation.cuts.cursors import CURSOR_FINDERS
from engine.evaluation.cuts.holes import FINDERS
from engine.evaluation.cuts.selection import Candidate, select
from engine.evaluation.cuts.source import Source
from engine.evaluation.cuts.window import prompt_start, suffix_end

if TYPE_CHECKING:
    from engine.training.corpus.shards import Document

Suite = Literal["fresh", "silent"]
SUITES: tuple[Suite, ...] = get_args(Suite)
SuffixScope = Literal["file", "statement"]

# Of a large package some files are looked at; of a file some cuts of each kind are kept.
MAX_FILES_PER_PACKAGE = 80
_MAX_PER_FILE_AND_KIND = 4
# Nobody, model or human, can tell what comes next from less than this.
_MIN_PROMPT_BYTES = 200
_LOOKS_BYTES = 60


class CutError(EngineError):
    """An evaluation set that cannot be made; one sentence with the reason."""


@dataclass(frozen=True, slots=True)
class Row:
    """prompt + gold + suffix is an excerpt of the file; gold is empty where silence is right.

    cluster: the package, whose rows are not independent of each other. suffix_scope: "file" with
    the text that follows in the file, "statement" with the rest of the statement only, as at the
    end of a file that is being written.
    """

    task_id: str
    cluster: str
    language: str
    kind: str
    prompt: str
    suffix: str
    gold: str
    suffix_scope: SuffixScope
    package: str
    version: str
    path: str
    licence: str | None


def cut(
    documents: Iterable[Document],
    suite: Suite,
    num: int,
    *,
    seed: int = 0,
    languages: Collection[str] | None = None,
    licences: dict[tuple[str, str], str] | None = None,
) -> list[Row]:
    """At most `num` rows, balanced over languages, kinds and packages; None means all languages.

    licences: by (ecosystem, package). Raises GrammarError and what reading the documents raises.
    """
    files = {_file(each): each for each in _files(documents, seed, languages)}
    candidates = [
        candidate
        for file in sorted(files)
        for candidate in _candidates(file, files[file], suite, seed)
    ]
    counts: defaultdict[tuple[str, str], int] = defaultdict(int)
    rows = []
    for chosen in select(candidates, num):
        index = counts[chosen.language, chosen.kind]
        counts[chosen.language, chosen.kind] += 1
        document = files[chosen.file]
        licence = (licences or {}).get((document.ecosystem, document.package))
        rows.append(_row(chosen, document, suite, index, licence))
    return rows


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write gzip'd JSON lines; equal rows give equal bytes. Raises CutError."""
    text = "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)
    try:
        path.write_bytes(gzip.compress(text.encode("utf-8"), mtime=0))
    except OSError as error:
        raise CutError(f"{path} cannot be written ({error.strerror}).") from None


def write_files(documents: Iterable[Document], folder: Path) -> None:
    """Write each document to ``folder/ECOSYSTEM/PACKAGE/PATH``. Raises CutError."""
    try:
        for each in documents:
            path = folder / each.ecosystem / each.package / each.path
            # A package chooses its paths; none may lead out of its own folder.
            if ".." in path.parts or Path(each.path).is_absolute():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(each.text, encoding="utf-8", newline="")
    except OSError as error:
        raise CutError(f"{folder} cannot be written ({error.strerror}).") from None


def _files(
    documents: Iterable[Document], seed: int, languages: Collection[str] | None
) -> Iterator[Document]:
    """Documents of the wanted languages, of each package and language not too many."""
    packages: defaultdict[tuple[str, str, str], list[Document]] = defaultdict(list)
    for each in documents:
        if languages is None or each.language in languages:
            packages[each.ecosystem, each.package, each.language].append(each)
    for package in packages.values():
        package.sort(key=lambda document: _hash(seed, _file(document)))
        yield from package[:MAX_FILES_PER_PACKAGE]


def _candidates(file: str, document: Document, suite: Suite, seed: int) -> Iterator[Candidate]:
    source = Source.read(document.language, document.text)
    if source is None:
        return
    for kind, spans in _spans(source, suite, seed, file):
        random = Random(_hash(seed, f"{file}/{kind}"))
        fit = [span for span in spans if span[0] >= _MIN_PROMPT_BYTES]
        for start, end, statement_end in random.sample(fit, min(len(fit), _MAX_PER_FILE_AND_KIND)):
            near = source.data[max(0, start - _LOOKS_BYTES) : end + _LOOKS_BYTES]
            yield Candidate(
                language=document.language,
                kind=kind,
                package=f"{document.ecosystem}/{document.package}",
                file=file,
                start=start,
                end=end,
                statement_end=statement_end,
                rank=_hash(seed, f"{file}/{kind}/{start}"),
                looks=b"".join(near.split()),
            )


def _spans(
    source: Source, suite: Suite, seed: int, file: str
) -> Iterator[tuple[str, list[tuple[int, int, int]]]]:
    """Kind -> (start, end, end of the statement) of the file's cuts of that kind."""
    if suite == "silent":
        for kind, cursors in CURSOR_FINDERS.items():
            yield kind, [(at, at, at) for at in sorted(set(cursors(source)))]
        return
    for kind, finder in FINDERS.items():
        random = Random(_hash(seed, f"{file}/{kind}/find"))
        yield kind, sorted({(h.start, h.end, h.statement_end) for h in finder(source, random)})


def _row(
    chosen: Candidate, document: Document, suite: Suite, index: int, licence: str | None
) -> Row:
    source = Source.read(document.language, document.text)
    assert source is not None
    # Every other row of a cell stands at the end of what has been written.
    scope: SuffixScope = "statement" if suite == "fresh" and index % 2 else "file"
    end = chosen.statement_end if scope == "statement" else suffix_end(source, chosen.end)
    start = prompt_start(source, chosen.start)
    return Row(
        task_id=f"{suite}/{chosen.language}/{chosen.kind}/{index}",
        cluster=document.package,
        language=document.language,
        kind=chosen.kind,
        prompt=source.data[start : chosen.start].decode("utf-8"),
        suffix=source.data[chosen.end : end].decode("utf-8"),
        gold=source.data[chosen.start : chosen.end].decode("utf-8"),
        suffix_scope=scope,
        package=document.package,
        version=document.version,
        path=document.path,
        licence=licence,
    )


def _file(document: Document) -> str:
    return f"{document.ecosystem}/{document.package}/{document.version}/{document.path}"


def _hash(seed: int, text: str) -> int:
    digest = hashlib.sha256(f"{seed}\0{text}".encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:8], "big")
