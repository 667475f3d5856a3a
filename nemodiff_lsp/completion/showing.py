"""What of an answer's texts is worth showing here and now. Called by `completion.py`.

Every answer comes through here, those from offers and caches too, because the text right of the
cursor may have changed since.
"""

from __future__ import annotations

from collections.abc import Sequence

from nemodiff_lsp.completion.calls import Asked
from nemodiff_lsp.documents.snapshot import Snapshot
from nemodiff_lsp.reuse.offers import Alternative
from nemodiff_lsp.settings.settings import Settings


def finish_each(
    alternatives: Sequence[Alternative], now: Snapshot, asked: Asked, settings: Settings
) -> tuple[list[str], str]:
    """For each alternative the text to show, empty if none is; and why the first one is not shown.

    Texts that look alike are shown once.
    """
    # Not before it is needed: the first reply of the server must not wait for it.
    from nemodiff_lsp.finishing.finish import Place, finish

    place = Place(
        prefix=now.prefix,
        suffix=now.suffix,
        language_id=now.language_id,
        path=now.key,
        tab_size=asked.tab_size,
        insert_spaces=asked.insert_spaces,
    )
    is_generous = asked.is_invoked or settings.multiline == "always"
    texts: list[str] = []
    why = ""
    seen: set[str] = set()
    for each in alternatives:
        text = each.text
        if settings.multiline == "never":
            text = text.partition("\n")[0]
        finished = finish(text, place, is_invoked=is_generous, is_draft=each.is_draft)
        looks = finished.text.rstrip()
        texts.append("" if looks in seen else finished.text)
        seen.add(looks)
        why = why or finished.dropped_because or ""
    return texts, why
