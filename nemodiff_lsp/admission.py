"""Admission: whether a document gets completions at all, and may be read as context.

Asked by the handlers before anything else. Joins the user's switches with the privacy policy, whose
look at the text is remembered for as long as the text stays the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import unquote

from nemodiff_lsp.documents.documents import Document
from nemodiff_lsp.privacy.policy import FilePolicy, Verdict
from nemodiff_lsp.settings.settings import Settings
from nemodiff_lsp.switches import Switches

_MAX_KEPT = 256


class Admission:
    """open_document: the document of a uri, None unless it is open."""

    def __init__(self, policy: FilePolicy, open_document: Callable[[str], Document | None]) -> None:
        self._policy = policy
        self._open_document = open_document
        # The version whose text had nothing against it.
        self._clean: OrderedDict[str, int | None] = OrderedDict()

    def use(self, policy: FilePolicy) -> None:
        """Another policy holds from now on."""
        self._policy = policy
        self._clean.clear()

    def judge(self, document: Document) -> Verdict:
        """What the policy says of an open document, its text included."""
        key = unquote(document.uri)
        is_known = key in self._clean and self._clean[key] == document.version
        text = None if is_known else document.source
        verdict = self._policy.judge(document.uri, text, language_id=document.language_id)
        if verdict.is_allowed:
            self._clean[key] = document.version
            self._clean.move_to_end(key)
            while len(self._clean) > _MAX_KEPT:
                self._clean.popitem(last=False)
        return verdict

    def is_allowed(self, uri: str, text: str | None) -> bool:
        """Whether a file may be context; an open document is judged by its own text."""
        document = self._open_document(uri)
        if document is not None:
            return self.judge(document).is_allowed
        return self._policy.judge(uri, text).is_allowed

    def forget(self, key: str) -> None:
        """The document was closed, or opened anew."""
        self._clean.pop(key, None)

    def off_because(
        self, document: Document, settings: Settings, switches: Switches
    ) -> tuple[str, bool] | None:
        """Why the document gets no completions: a sentence, and whether that is for privacy."""
        off = switches.off_because(settings, document.uri, document.language_id)
        if off is not None:
            return off, False
        verdict = self.judge(document)
        return None if verdict.is_allowed else (verdict.reason, True)
