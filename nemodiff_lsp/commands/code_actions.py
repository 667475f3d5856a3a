"""Code actions: "Fill holes" where there are some, "Repair selection", a repair of diagnostics.

Registered by `commands.py`. Editors ask at every move of the cursor, so nothing here asks the
engine, and a document is only looked at where a quick search finds something.
"""

from __future__ import annotations

from typing import Any

from lsprotocol import types

from nemodiff_lsp.commands import names
from nemodiff_lsp.commands.host import Host
from nemodiff_lsp.commands.tools import path_of
from nemodiff_lsp.documents.edits import DocumentText

KINDS = (types.CodeActionKind.RefactorRewrite, types.CodeActionKind.QuickFix)
QUICK_FIX_LABEL = "Repair the diagnosed code (NemoDiff)"

# Enough to see what surrounds a hole; the command itself reads more.
_MARGIN_CHARS = 10_000


def code_actions(
    host: Host, params: types.CodeActionParams
) -> list[types.CodeAction | types.Command]:
    """What can be done in the range; nothing in excluded documents and where NemoDiff is off."""
    uri = params.text_document.uri
    document = host.open_document(uri)
    if document is None or host.switches.off_because(host.settings, uri, document.language_id):
        return []
    verdict = host.policy.judge(uri, document.source, language_id=document.language_id)
    if not verdict.is_allowed:
        return []
    actions: list[types.CodeAction] = []
    arguments: dict[str, Any] = {"uri": uri, "range": params.range}
    if _is_wanted(params, types.CodeActionKind.RefactorRewrite):
        if _has_holes(DocumentText.of(document, uri), params.range):
            actions.append(_action(names.FILL_HOLES_LABEL, names.FILL_HOLES, arguments))
        if params.range.start != params.range.end:
            actions.append(_action(names.REPAIR_RANGE_LABEL, names.REPAIR_RANGE, arguments))
    if params.context.diagnostics and _is_wanted(params, types.CodeActionKind.QuickFix):
        actions.append(_quick_fix(uri, params))
    return _as_the_client_knows(host, actions)


def _has_holes(document: DocumentText, chosen: types.Range) -> bool:
    # Only now: the first reply of the server must not wait for it.
    from nemodiff_lsp.holes.find import find_holes, may_hold_holes

    start, end = document.slice_of(chosen)
    text = document.text
    low = text.rfind("\n", 0, start) + 1
    high = text.find("\n", end)
    high = len(text) if high < 0 else high
    if not may_hold_holes(text[low:high]):
        return False
    first = text.rfind("\n", 0, max(0, low - _MARGIN_CHARS)) + 1
    return bool(
        find_holes(
            text[first : high + _MARGIN_CHARS],
            language_id=document.language_id,
            path=path_of(document.uri),
            start=start - first,
            end=end - first,
        )
    )


def _action(title: str, command: str, arguments: dict[str, Any]) -> types.CodeAction:
    return types.CodeAction(
        title=title,
        kind=types.CodeActionKind.RefactorRewrite,
        command=types.Command(title=title, command=command, arguments=[arguments]),
    )


def _quick_fix(uri: str, params: types.CodeActionParams) -> types.CodeAction:
    """One action for all the diagnostics: the whole lines that they are on, with them as doubts."""
    ranges = [diagnostic.range for diagnostic in params.context.diagnostics]
    first = min(each.start.line for each in ranges)
    last = max(each.end.line for each in ranges)
    # The character beyond the end of the line means its end.
    lines = types.Range(types.Position(first, 0), types.Position(last, 2**31 - 1))
    arguments = {"uri": uri, "range": lines, "diagnostics": ranges}
    action = _action(QUICK_FIX_LABEL, names.REPAIR_RANGE, arguments)
    action.kind = types.CodeActionKind.QuickFix
    action.diagnostics = params.context.diagnostics
    return action


def _is_wanted(params: types.CodeActionParams, kind: types.CodeActionKind) -> bool:
    """Whether the client asks for this kind, or for one above it, or for any."""
    only = params.context.only
    if only is None:
        return True
    names = [str(each.value if isinstance(each, types.CodeActionKind) else each) for each in only]
    return any(
        not name or kind.value == name or kind.value.startswith(f"{name}.") for name in names
    )


def _as_the_client_knows(
    host: Host, actions: list[types.CodeAction]
) -> list[types.CodeAction | types.Command]:
    document = host.protocol.client_capabilities.text_document
    known = None if document is None else document.code_action
    if known is not None and known.code_action_literal_support is not None:
        return list(actions)
    return [action.command for action in actions if action.command is not None]
