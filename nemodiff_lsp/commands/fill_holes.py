"""`nemodiff.fillHoles`: every hole of a range or a document filled jointly, in one edit.

Called by `commands.py`. The holes come from `holes/`, the texts from the engine's /v1/fill, where
each hole sees what the others are about to hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lsprotocol import types

from nemodiff_lsp.commands.arguments import (
    Arguments,
    a_range,
    boolean,
    list_of,
    number,
    position,
    text,
)
from nemodiff_lsp.commands.host import Host
from nemodiff_lsp.commands.long_work import run_with_progress
from nemodiff_lsp.commands.names import FILL_HOLES, FILL_HOLES_LABEL
from nemodiff_lsp.commands.tools import (
    RefusedError,
    deliver_edit,
    path_of,
    readable_document,
    require_unchanged,
)
from nemodiff_lsp.completion.request import CLIENT_ID, document_id
from nemodiff_lsp.documents.edits import DocumentText, Replacement, workspace_edit
from nemodiff_lsp.finishing.finish import Place, finish
from nemodiff_lsp.holes.find import find_holes, holes_at
from nemodiff_lsp.holes.hole import MAX_HOLES, Hole
from nemodiff_lsp.holes.pieces import Filling, asked_holes, fillings_of, pieces_around

if TYPE_CHECKING:
    from engine.messages.fill import Fill

# Two rounds over a hole on a plain CPU take some seconds.
_DEADLINE_MS, _DEADLINE_MS_PER_HOLE, _MAX_DEADLINE_MS = 10_000.0, 5_000.0, 120_000.0
_BODY_TOKENS, _VALUE_TOKENS = 128, 48
# What a model writes that has no idea.
_STILL_HOLES = frozenset({"...", "pass", "__", "todo!()", "unimplemented!()", "TODO()"})


@dataclass(frozen=True, slots=True)
class Job:
    """What one call is about: the frozen document, its holes, and the time there is (ms)."""

    document: DocumentText
    holes: tuple[Hole, ...]
    deadline_ms: float


async def fill_holes(
    host: Host, given: Sequence[Any] | None, token: types.ProgressToken | None = None
) -> dict[str, Any]:
    """Fill the holes and send the edit.

    Arguments: uri, range (default: the whole document), positions (of cursors; then these are the
    holes), tabStops (look for those of snippets, too), deadlineMs. Returns {numHoles, numFilled},
    and {edit} when the client does not apply edits itself. Raises ArgumentError, RefusedError.
    """
    job = _job_of(host, given)
    fill = await run_with_progress(host.protocol, FILL_HOLES_LABEL, _ask(host, job), token)
    if fill is None:
        raise RefusedError("The engine gave no answer; nothing was filled.")
    require_unchanged(host, job.document)
    fillings = await finished_fillings(job, fill)
    require_unchanged(host, job.document)
    return _deliver(host, job, fillings, fill)


async def finished_fillings(job: Job, fill: Fill) -> list[Filling]:
    """The engine's texts made fit for their places; an empty one leaves its hole as it is."""
    asked = asked_holes(job.holes)
    pieces = _pieces(job)
    texts = list(fill.texts)
    for index, hole in enumerate(asked):
        before = _joined(pieces[: index + 1], texts[:index])
        after = _joined(pieces[index + 1 :], texts[index + 1 :])
        texts[index] = _finished(
            texts[index], hole, before, after, job.document, fill.finish_reasons[index]
        )
        # Each takes some milliseconds; what the user types must not wait for all of them.
        await asyncio.sleep(0)
    return fillings_of(job.holes, texts)


def _job_of(host: Host, given: Sequence[Any] | None) -> Job:
    names = ("uri", "range", "positions", "tabStops", "deadlineMs")
    arguments = Arguments(FILL_HOLES, given, names)
    uri = arguments.required("uri", text)
    chosen = arguments.optional("range", a_range)
    cursors = arguments.optional("positions", list_of(position, "positions"))
    with_tab_stops = arguments.optional("tabStops", boolean) or False
    deadline_ms = arguments.optional("deadlineMs", number(1.0, 3_600_000.0))
    document = readable_document(host, uri)
    if cursors:
        holes = holes_at([document.offset_of(cursor) for cursor in cursors])
    else:
        start, end = (0, None) if chosen is None else document.slice_of(chosen)
        holes = find_holes(
            document.text,
            language_id=document.language_id,
            path=path_of(uri),
            start=start,
            end=end,
            with_tab_stops=with_tab_stops,
        )
    if not holes:
        where = "document" if chosen is None else "selection"
        raise RefusedError(f"There are no holes to fill in the {where}.")
    needed_ms = _DEADLINE_MS + _DEADLINE_MS_PER_HOLE * len(holes)
    return Job(document, tuple(holes), deadline_ms or min(_MAX_DEADLINE_MS, needed_ms))


async def _ask(host: Host, job: Job) -> Fill | None:
    # Only who fills holes needs it; the server is to start quickly.
    from engine.messages.fill import FillRequest

    settings = host.settings
    has_body = any(hole.kind != "value" for hole in job.holes)
    request = FillRequest(
        pieces=_pieces(job, settings.max_prefix_chars, settings.max_suffix_chars),
        max_tokens=max(settings.max_tokens, _BODY_TOKENS) if has_body else _VALUE_TOKENS,
        mode=settings.mode,
        deadline_ms=job.deadline_ms,
        # Not the document's own id: its cached prompt would be lost for the next keystroke.
        document=document_id(f"{job.document.uri}#holes"),
        client=CLIENT_ID,
    )
    return await host.link.fill(request)


def _pieces(
    job: Job, max_prefix_chars: int = 8_000, max_suffix_chars: int = 8_000
) -> tuple[str, ...]:
    return pieces_around(
        job.document.text,
        job.holes,
        max_prefix_chars=max_prefix_chars,
        max_suffix_chars=max_suffix_chars,
    )


def _joined(pieces: Sequence[str], texts: Sequence[str]) -> str:
    """Pieces and texts in turn: the shorter list between or around the longer one."""
    if len(pieces) > len(texts):
        return pieces[0] + "".join(t + p for t, p in zip(texts, pieces[1:], strict=True))
    return "".join(p + t for p, t in zip(pieces, texts, strict=True))


def _finished(
    text: str, hole: Hole, before: str, after: str, document: DocumentText, reason: str
) -> str:
    # Where a break is put in front of the text, its own is one too many.
    if hole.lead.rstrip(" \t").endswith("\n"):
        text = text.lstrip("\n")
    place = Place(
        prefix=before,
        suffix=after,
        language_id=document.language_id,
        path=path_of(document.uri),
    )
    finished = finish(text, place, is_invoked=True, is_draft=reason == "deadline").text
    if finished.strip().rstrip(";") in _STILL_HOLES:
        return ""
    if hole.kind == "cursor":
        return finished
    # One blank in front of an expression is enough.
    is_apart = hole.kind == "value" and before[-1:].isspace()
    return finished.lstrip(" \t").rstrip() if is_apart else finished.rstrip()


def _deliver(host: Host, job: Job, fillings: Sequence[Filling], fill: Fill) -> dict[str, Any]:
    replacements = [
        Replacement(filling.hole.start, filling.hole.end, filling.text)
        for filling in fillings
        if filling.text is not None
    ]
    result: dict[str, Any] = {"numHoles": len(job.holes), "numFilled": len(replacements)}
    is_late = "deadline" in fill.finish_reasons
    if not replacements:
        why = "the time was up" if is_late else "the model had nothing to put there"
        raise RefusedError(f"No hole was filled: {why}.")
    capabilities = host.protocol.client_capabilities
    result |= deliver_edit(
        host, workspace_edit(job.document, replacements, capabilities), FILL_HOLES_LABEL
    )
    if len(replacements) < len(job.holes):
        why = "the time was up for the rest" if is_late else "the model had nothing for the rest"
        counts = f"{len(replacements)} of {len(job.holes)} holes were filled"
        host.show(types.MessageType.Info, f"NemoDiff: {counts}; {why}.")
    elif len(job.holes) == MAX_HOLES:
        host.show(types.MessageType.Info, f"NemoDiff filled the first {MAX_HOLES} holes.")
    return result
