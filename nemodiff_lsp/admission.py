"""Admission: whether a document gets completions at all, and may be read as context.

Asked by the handlers before anything else. Joins the user's switches with the privacy policy, whose
look at the text is remembered for as long as the text stays the same.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from nemodiff_lsp.documents.documents import Document
from nemodiff_lsp.privacy.git import GitPending
from nemodiff_lsp.privacy.policy import FilePolicy, Verdict
from nemodiff_lsp.settings.settings import Settings
from nemodiff_lsp.switches import Switches

_MAX_KEPT = 256


@dataclass(frozen=True, slots=True)
class Off:
    """Why a document gets no completions, in a sentence.

    is_private: for the sake of privacy. pending: what may still allow it, when that comes in.
    """

    reason: str
    is_private: bool = False
    pending: GitPending | None = None


class Admission:
    """open_document: the document of a uri, None unless it is open. Used from any thread."""

    def __init__(self, policy: FilePolicy, open_document: Callable[[str], Document | None]) -> None:
        self._policy = policy
        self._open_document = open_document
        # The stamp of the text that had nothing against it.
        self._clean: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def judge(self, document: Document) -> Verdict:
        """What the policy says of an open document, its text included."""
        key = unquote(document.uri)
        # Read before the text: edits go on while a thread is judging.
        stamp = document.stamp
        with self._lock:
            is_known = self._clean.get(key) == stamp
        text = None if is_known else document
        verdict = self._policy.judge(document.uri, text, language_id=document.language_id)
        if verdict.is_allowed:
            self._keep(key, stamp)
        return verdict

    def is_allowed(self, uri: str, text: str | None) -> bool:
        """Whether a file may be context, with this `text` of it, or an open one with its own."""
        document = self._open_document(uri)
        if document is None:
            return self._policy.judge(uri, text).is_allowed
        if text is None:
            return self.judge(document).is_allowed
        # What is about to be used may be older than the document by now.
        return self._policy.judge(uri, text, language_id=document.language_id).is_allowed

    def forget(self, key: str) -> None:
        """The document was closed, or opened anew: its text need not be remembered."""
        with self._lock:
            self._clean.pop(key, None)

    def off_because(self, document: Document, settings: Settings, switches: Switches) -> Off | None:
        """Why the document gets no completions; None when it gets them."""
        off = switches.off_because(settings, document.uri, document.language_id)
        if off is not None:
            return Off(off)
        verdict = self.judge(document)
        if verdict.is_allowed:
            return None
        return Off(verdict.reason, is_private=True, pending=verdict.pending)

    def _keep(self, key: str, stamp: int) -> None:
        with self._lock:
            self._clean[key] = stamp
            self._clean.move_to_end(key)
            while len(self._clean) > _MAX_KEPT:
                self._clean.popitem(last=False)
