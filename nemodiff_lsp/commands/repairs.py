"""`nemodiff.repairRange`: the doubtful tokens of a selection written anew, shown before applied.

Called by `commands.py`. Which tokens are in doubt is said by diagnostics, else found by the engine,
which never answers with text that it thinks worse.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lsprotocol import types

from nemodiff_lsp.commands.arguments import (
    Arguments,
    a_range,
    diagnostic_range,
    list_of,
    number,
    text,
)
from nemodiff_lsp.commands.host import Host
from nemodiff_lsp.commands.long_work import run_with_progress
from nemodiff_lsp.commands.names import REPAIR_RANGE, REPAIR_RANGE_LABEL
from nemodiff_lsp.commands.tools import (
    RefusedError,
    deliver_edit,
    readable_document,
    require_unchanged,
)
from nemodiff_lsp.completion.request import CLIENT_ID, document_id
from nemodiff_lsp.documents.edits import (
    DocumentText,
    Preview,
    Replacement,
    can_preview,
    workspace_edit,
)

if TYPE_CHECKING:
    from engine.messages.repair import Repair

_DEADLINE_MS = 30_000.0
_TOKEN = re.compile(r"\w+|\s+|[^\w\s]")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Job:
    """What one call is about: the frozen document, the selection and the doubts in it.

    start / end: characters of the document; spans: of the selection, None = the engine chooses.
    """

    document: DocumentText
    start: int
    end: int
    spans: tuple[tuple[int, int], ...] | None
    deadline_ms: float

    @property
    def text(self) -> str:
        return self.document.text[self.start : self.end]


async def repair_range(
    host: Host, given: Sequence[Any] | None, token: types.ProgressToken | None = None
) -> dict[str, Any]:
    """Repair the selection and send the edit.

    Arguments: uri, range (empty: its line), diagnostics (or bare ranges; those in the range are
    the doubts), maxShare (of the tokens, where no diagnostic is in the range), deadlineMs. Returns
    {numChanges}, and {edit} when the client does not apply edits itself. Raises ArgumentError,
    RefusedError.
    """
    names = ("uri", "range", "diagnostics", "maxShare", "deadlineMs")
    arguments = Arguments(REPAIR_RANGE, given, names)
    max_share = arguments.optional("maxShare", number(0.0, 1.0))
    job = _job_of(host, arguments)
    repair = await run_with_progress(
        host.protocol, REPAIR_RANGE_LABEL, _ask(host, job, max_share), token
    )
    if repair is None:
        raise RefusedError("The engine gave no answer; nothing was repaired.")
    require_unchanged(host, job.document)
    return _deliver(host, job, repair)


def _job_of(host: Host, arguments: Arguments) -> Job:
    from engine.messages.repair import MAX_SELECTION_CHARS

    uri = arguments.required("uri", text)
    chosen = arguments.required("range", a_range)
    diagnostics = arguments.optional("diagnostics", list_of(diagnostic_range, "diagnostics")) or []
    deadline_ms = arguments.optional("deadlineMs", number(1.0, 3_600_000.0))
    document = readable_document(host, uri)
    start, end = document.slice_of(chosen)
    if start == end:
        start = document.text.rfind("\n", 0, start) + 1
        newline = document.text.find("\n", end)
        end = len(document.text) if newline < 0 else newline
    if not document.text[start:end].strip():
        raise RefusedError("There is nothing to repair in the selection.")
    if end - start > MAX_SELECTION_CHARS:
        raise RefusedError(f"Select at most {MAX_SELECTION_CHARS} characters to repair.")
    doubts = [document.slice_of(each) for each in diagnostics]
    spans = spans_within(document.text, doubts, start, end)
    return Job(document, start, end, spans, deadline_ms or _DEADLINE_MS)


def spans_within(
    source: str, doubts: Sequence[tuple[int, int]], start: int, end: int
) -> tuple[tuple[int, int], ...] | None:
    """The doubts as spans of ``start`` .. ``end``, merged; None when none of them lies there.

    An empty one means the token that it touches.
    """
    # Only who repairs needs it; the server is to start quickly.
    from engine.messages.repair import MAX_SPANS

    spans: list[tuple[int, int]] = []
    for low, high in sorted(doubts):
        if low == high:
            low, high = _token_at(source, low)
        low, high = max(low, start) - start, min(high, end) - start
        if low >= high:
            continue
        if spans and low <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(high, spans[-1][1]))
        else:
            spans.append((low, high))
    return tuple(spans[:MAX_SPANS]) or None


def replacements_between(old: str, new: str, offset: int) -> list[Replacement]:
    """The smallest whole tokens that differ, as replacements in a text with `old` at `offset`."""
    before, after = _TOKEN.findall(old), _TOKEN.findall(new)
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    places = [0]
    for token in before:
        places.append(places[-1] + len(token))
    return [
        Replacement(offset + places[i1], offset + places[i2], "".join(after[j1:j2]))
        for tag, i1, i2, j1, j2 in matcher.get_opcodes()
        if tag != "equal"
    ]


def _token_at(source: str, offset: int) -> tuple[int, int]:
    line_start = source.rfind("\n", 0, offset) + 1
    line_end = source.find("\n", offset)
    line = source[line_start : len(source) if line_end < 0 else line_end]
    touching = [
        (line_start + match.start(), line_start + match.end())
        for match in _TOKEN.finditer(line)
        if match.start() <= offset - line_start <= match.end() and match.group().strip()
    ]
    # Behind the last token there is none: what is missing there belongs to that one.
    return touching[-1] if touching else (offset, offset)


async def _ask(host: Host, job: Job, max_share: float | None) -> Repair | None:
    from engine.messages.repair import RepairRequest

    settings = host.settings
    source = job.document.text
    request = RepairRequest(
        text=_as_text(job.text),
        prefix=_as_text(source[max(0, job.start - settings.max_prefix_chars) : job.start]),
        suffix=_as_text(source[job.end : job.end + settings.max_suffix_chars]),
        spans=job.spans,
        deadline_ms=job.deadline_ms,
        # Not the document's own id: its cached prompt would be lost for the next keystroke.
        document=document_id(f"{job.document.uri}#repair"),
        client=CLIENT_ID,
    )
    if max_share is not None:
        request = replace(request, max_share=max_share)
    return await host.link.repair(request)


def _as_text(source: str) -> str:
    # One character for one, so that spans stay where they are.
    return _LONE_SURROGATE.sub("\ufffd", source)


def _deliver(host: Host, job: Job, repair: Repair) -> dict[str, Any]:
    replacements = replacements_between(_as_text(job.text), repair.text, job.start)
    if not replacements:
        why = "the time was up" if repair.finish_reason == "deadline" else "the model has no doubt"
        raise RefusedError(f"Nothing was changed: {why}.")
    capabilities = host.protocol.client_capabilities
    preview = Preview("NemoDiff: repair", _confidence_sentence(repair))
    edit = workspace_edit(job.document, replacements, capabilities, preview)
    result = {"numChanges": len(replacements), **deliver_edit(host, edit, REPAIR_RANGE_LABEL)}
    if not can_preview(capabilities):
        places = "1 place" if len(replacements) == 1 else f"{len(replacements)} places"
        host.show(
            types.MessageType.Info,
            f"NemoDiff changed {places} ({preview.description}); undo takes it back.",
        )
    return result


def _confidence_sentence(repair: Repair) -> str:
    if not repair.confidences:
        return "the model finds the new text likelier"
    before = sum(each.before for each in repair.confidences) / len(repair.confidences)
    after = sum(each.after for each in repair.confidences) / len(repair.confidences)
    return f"confidence {before:.0%} before, {after:.0%} now"
