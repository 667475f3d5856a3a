"""WhyLog: what became of the last request of each document, in a sentence for the user.

Written by the pipeline of a completion at the stage that decided, read by `nemodiff.why` and
`nemodiff.showStatus`. Memory only; reasons hold no text of the user's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

_MAX_DOCUMENTS = 256
_NEVER_ASKED = "Nothing has been asked for yet."
_NEVER_ASKED_HERE = "Nothing has been asked for in this document yet."


class WhyLog:
    """The last reason of each document, the longest untouched of which are forgotten.

    listen: is called with each reason that is news for its document.
    """

    def __init__(self, listen: Callable[[str, str], None] | None = None) -> None:
        self._reasons: OrderedDict[str, str] = OrderedDict()
        self._listen = listen

    def note(self, uri: str, reason: str) -> None:
        """Remember `reason`, one sentence, as what decided the last request of `uri`."""
        is_news = self._reasons.get(uri) != reason
        self._reasons[uri] = reason
        self._reasons.move_to_end(uri)
        if len(self._reasons) > _MAX_DOCUMENTS:
            self._reasons.popitem(last=False)
        if is_news and self._listen is not None:
            self._listen(uri, reason)

    def last(self, uri: str | None) -> str:
        """The last reason of `uri`, or of any document when it is None; always one sentence."""
        if uri is not None:
            return self._reasons.get(uri, _NEVER_ASKED_HERE if self._reasons else _NEVER_ASKED)
        return next(reversed(self._reasons.values()), _NEVER_ASKED)

    def forget(self, uri: str) -> None:
        """The document was closed."""
        self._reasons.pop(uri, None)
