"""Answers textDocument/inlineCompletion, and textDocument/completion for clients without it.

`register` adds the handlers to the server. Answers: null when superseded, stale or lost with the
engine, an empty list when there is nothing to show, -32800 (by pygls) when the client cancels;
never an error for a failing engine, because editors show those on each keystroke.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote

from lsprotocol import types

from nemodiff_lsp.admission import Off
from nemodiff_lsp.clients.profile import ClientProfile
from nemodiff_lsp.completion.calls import Asked, deadline_ms_of
from nemodiff_lsp.completion.completion import Answer
from nemodiff_lsp.completion.items import inline_items, menu_items
from nemodiff_lsp.completion.session import SupersededError
from nemodiff_lsp.documents.documents import Document
from nemodiff_lsp.documents.snapshot import Snapshot
from nemodiff_lsp.protocol import InlineParams, MenuParams

if TYPE_CHECKING:
    from nemodiff_lsp.server import NemoDiffServer

logger = logging.getLogger(__name__)

T = TypeVar("T")
Render = Callable[[Snapshot, Sequence[str], ClientProfile, str], T]

_SHOWN = "Something was offered for the last request."
_BUSY = "A completion is under way."
_FAILED = "The completion failed; the server's log says more."

# Where a menu is asked for beside words: behind what begins an expression.
_TRIGGERS = [".", "(", "[", "{", "=", ",", ":", " "]


def register(server: NemoDiffServer) -> None:
    """Add the handler that every client gets."""
    # Without the options object pygls does not announce the capability.
    options = types.InlineCompletionOptions()
    server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, options)(_inline_completion)


def register_menu(server: NemoDiffServer) -> None:
    """Add the handler for clients that ask for no inline completions; before `initialize` ends."""
    options = types.CompletionOptions(trigger_characters=_TRIGGERS)
    server.feature(types.TEXT_DOCUMENT_COMPLETION, options)(_menu_completion)


async def _inline_completion(
    ls: NemoDiffServer, params: types.InlineCompletionParams
) -> types.InlineCompletionList | None:
    is_invoked = params.context.trigger_kind is types.InlineCompletionTriggerKind.Invoked
    asked = Asked(is_invoked=is_invoked)
    versions: tuple[int | None, ...] = ()
    if isinstance(params, InlineParams):
        versions = (params.document_version, params.arrived_version)
        asked = Asked(
            is_invoked=is_invoked, tab_size=params.tab_size, insert_spaces=params.insert_spaces
        )
    nothing = types.InlineCompletionList(items=[])
    selected = params.context.selected_completion_info
    return await _reply(ls, params, asked, inline_items, nothing, selected, versions)


async def _menu_completion(
    ls: NemoDiffServer, params: types.CompletionParams
) -> types.CompletionList | None:
    # A word that is typed is reported as invoked, too, so no menu counts as asked for by key.
    nothing = types.CompletionList(is_incomplete=True, items=[])
    versions = (params.arrived_version,) if isinstance(params, MenuParams) else ()
    return await _reply(ls, params, Asked(), menu_items, nothing, versions=versions)


async def _reply(
    ls: NemoDiffServer,
    params: types.InlineCompletionParams | types.CompletionParams,
    asked: Asked,
    render: Render[T],
    nothing: T,
    selected: types.SelectedCompletionInfo | None = None,
    versions: Sequence[int | None] = (),
) -> T | None:
    """The reply to one request: `render`ed texts, `nothing`, or None when it would be stale."""
    uri = params.text_document.uri
    try:
        document = ls.open_document(uri)
        if document is None:
            return nothing
        uri = document.uri
        ls.recorder.asked(
            trigger="invoked" if asked.is_invoked else "automatic",
            language_id=document.language_id,
        )
        off = ls.admission.off_because(document, ls.settings, ls.switches)
        if off is not None and off.pending is not None:
            began_s = time.monotonic()
            off = await ls.sessions.run_newest(unquote(uri), _settled(ls, document, asked, off))
            asked = replace(asked, waited_ms=(time.monotonic() - began_s) * 1000.0)
        if off is not None:
            _stay_silent(ls, uri, off)
            return nothing
        if any(version not in (None, document.version) for version in versions):
            return None
        # From here to the first await nothing can change under our hands.
        snapshot = ls.snapshot(document, params.position, selected)
        ls.completer.on_request(snapshot)
        answer = await _answered(ls, snapshot, asked)
        if not ls.is_current(snapshot):
            return None
        _note(ls, snapshot, answer)
        if answer.is_lost:
            return None
        return render(snapshot, answer.texts, ls.profile, answer.offer_id)
    except SupersededError:
        return None
    except Exception as error:
        # The last resort: an error reply would be shown to the user on every keystroke.
        logger.error("A completion failed (%s).", type(error).__name__)
        logger.debug("The failed completion:", exc_info=True)
        ls.why.note(uri, _FAILED)
        return nothing


async def _settled(ls: NemoDiffServer, document: Document, asked: Asked, off: Off) -> Off | None:
    """What comes of `off` once nothing is pending any more, or the deadline passes."""
    limit_s = time.monotonic() + deadline_ms_of(asked, ls.settings, ls.profile) / 1000.0
    now: Off | None = off
    while now is not None and now.pending is not None:
        left_s = limit_s - time.monotonic()
        if left_s <= 0:
            break
        await now.pending.wait_async(left_s)
        now = ls.admission.off_because(document, ls.settings, ls.switches)
    return now


async def _answered(ls: NemoDiffServer, snapshot: Snapshot, asked: Asked) -> Answer:
    """The pipeline's answer, while the status says that something is being done."""
    ls.status.rest()
    ls.status.set_state("busy", _BUSY)
    try:
        return await ls.sessions.run_newest(snapshot.key, ls.completer.complete(snapshot, asked))
    finally:
        ls.status.rest()


def _stay_silent(ls: NemoDiffServer, uri: str, off: Off) -> None:
    ls.why.note(uri, off.reason)
    if off.is_private:
        ls.status.set_state("excluded", off.reason)
    ls.recorder.answered(source="none", stages_ms={}, forwards=0, why=off.reason)


def _note(ls: NemoDiffServer, snapshot: Snapshot, answer: Answer) -> None:
    """Tell the statistics, the status and `nemodiff.why`, and begin what comes next."""
    why = answer.why if not answer.texts else ""
    ls.recorder.answered(
        source=answer.source if answer.texts else "none",
        stages_ms=answer.stages_ms,
        forwards=answer.forwards,
        why=why or None,
    )
    ls.why.note(snapshot.uri, why or _SHOWN)
    ls.status.nothing(why)
    if answer.texts:
        ls.follow_offer(snapshot, answer.texts[0], answer.offer_id)
        ls.completer.ahead.prefetch(snapshot, answer.texts[0])
