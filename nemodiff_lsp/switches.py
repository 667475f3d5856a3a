"""Switches: what the user has turned off or on for now, everywhere, for a language or a document.

Flipped by `nemodiff.toggle`, asked by the pipeline before each completion. They last as long as the
process; what is to last longer belongs into the settings.
"""

from __future__ import annotations

from typing import Literal

from nemodiff_lsp.settings.settings import Settings

Scope = Literal["global", "language", "document"]


class Switches:
    """The nearest one decides: a document's own, else its language's, else the global one, else
    the settings. Flipping one takes back those that it covers, so that what the user is told holds.
    """

    def __init__(self) -> None:
        self._everywhere: bool | None = None
        self._languages: dict[str, bool] = {}
        # With the language, for a switch of the language covers the document.
        self._documents: dict[str, tuple[str | None, bool]] = {}
        self._default: bool | None = None

    def off_because(self, settings: Settings, uri: str, language_id: str | None) -> str | None:
        """Why nothing is offered in the document, in a sentence; None when something is."""
        own = self._documents.get(uri)
        if own is not None:
            return None if own[1] else "NemoDiff is switched off for this document."
        return self._language_off_because(settings, language_id)

    def toggle(
        self,
        scope: Scope,
        settings: Settings,
        *,
        uri: str = "",
        language_id: str | None = None,
        to: bool | None = None,
    ) -> bool:
        """Flip the switch of `scope`, or set it to `to`; returns whether it is on now.

        uri and language_id: of the document, or the language alone; unused for ``global``.
        """
        if scope == "global":
            is_on = not self._is_on_everywhere(settings) if to is None else to
            self._everywhere = is_on
            self._languages.clear()
            self._documents.clear()
        elif scope == "language":
            was_off = self._language_off_because(settings, language_id)
            is_on = was_off is not None if to is None else to
            self._languages[language_id or ""] = is_on
            for known, (language, _) in list(self._documents.items()):
                if language == language_id:
                    del self._documents[known]
        else:
            is_on = self.off_because(settings, uri, language_id) is not None if to is None else to
            self._documents[uri] = (language_id, is_on)
        return is_on

    def _language_off_because(self, settings: Settings, language_id: str | None) -> str | None:
        is_on_everywhere = self._is_on_everywhere(settings)
        language = self._languages.get(language_id or "")
        if language is not None:
            return None if language else f"NemoDiff is switched off for {_shown(language_id)}."
        if not is_on_everywhere:
            is_by_hand = self._everywhere is not None
            return "NemoDiff is switched off." if is_by_hand else "NemoDiff is off in the settings."
        if settings.enabled and not settings.is_enabled_for(language_id):
            return f"NemoDiff is off for {_shown(language_id)} in the settings."
        return None

    def forget(self, uri: str) -> None:
        """The document was closed."""
        self._documents.pop(uri, None)

    def _is_on_everywhere(self, settings: Settings) -> bool:
        # Whoever changes the setting means that, and not the switch flipped before.
        if settings.enabled != self._default:
            self._default = settings.enabled
            self._everywhere = None
        return settings.enabled if self._everywhere is None else self._everywhere


def _shown(language_id: str | None) -> str:
    return language_id or "documents without a language"
