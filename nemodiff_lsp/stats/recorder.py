"""Recorder: counts what becomes of completions. Called by the pipeline at every step.

Its methods take microseconds and never raise: no figure is worth a completion. What has been
counted goes to the disk now and then, in a thread of its own.
"""

from __future__ import annotations

import atexit
import functools
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Concatenate, Literal, ParamSpec

from nemodiff_lsp.stats.counts import Counts, add, bucket_of, sentence, word
from nemodiff_lsp.stats.store import StatsStore, state_folder

logger = logging.getLogger(__name__)

Source = Literal["engine", "offer", "cache", "speculation", "none"]
SURVIVAL_TIMES_S = (15, 30, 120, 300, 600)

_REUSING = ("offer", "cache")
_WRITE_EVERY_S = 10.0
_MAX_OFFERS = 512

P = ParamSpec("P")


@dataclass(slots=True)
class _Taken:
    """What has been counted of one offer: characters from the start of its text."""

    language: str
    num_typed: int = 0
    num_partly: int = 0
    is_accepted: bool = False


def _quietly(
    method: Callable[Concatenate[Recorder, P], None],
) -> Callable[Concatenate[Recorder, P], None]:
    @functools.wraps(method)
    def guarded(self: Recorder, /, *args: P.args, **kwargs: P.kwargs) -> None:
        if not self.is_enabled:
            return
        try:
            with self._lock:
                method(self, *args, **kwargs)
            self._write_when_due()
        except Exception:
            logger.debug("A count failed.", exc_info=True)

    return guarded


class Recorder:
    """Characters of an offer are counted from the start of its text, so that telling the same
    twice, by a client's notification and by what is seen in the document, counts once.

    clock: seconds. today: the day's name.
    """

    def __init__(
        self,
        store: StatsStore | None = None,
        *,
        is_enabled: bool = True,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], str] = lambda: time.strftime("%Y-%m-%d"),
    ) -> None:
        self.is_enabled = is_enabled
        """By the setting `statistics`; may be changed at any time."""
        self._store = store or StatsStore(state_folder())
        self._clock, self._today = clock, today
        self._pending: dict[str, Counts] = {}
        self._summary: dict[str, int] = {}
        self._offers: OrderedDict[str, _Taken] = OrderedDict()
        self._written_s = clock()
        self._lock = threading.Lock()
        self._writing: threading.Thread | None = None
        atexit.register(self.close)

    @_quietly
    def asked(self, *, trigger: str, language_id: str | None) -> None:
        """A completion was asked for."""
        self._add(1, "asked", word(trigger))
        self._add(1, "languages", word(language_id), "asked")

    @_quietly
    def answered(
        self, *, source: Source, stages_ms: Mapping[str, float], forwards: int, why: str | None
    ) -> None:
        """A request was answered, from `source` (none: with nothing).

        forwards: what the engine has spent on the text, now or, for a text used again, then.
        why: the reason when nothing was offered.
        """
        self._add(1, "answered", word(source))
        kind = "forwards_saved" if source in _REUSING else "forwards_spent"
        self._add(max(0, forwards), kind)
        for stage, duration_ms in stages_ms.items():
            self._add(1, "stages", word(stage), bucket_of(duration_ms))
        if why:
            self._add(1, "nothing_because", sentence(why))

    @_quietly
    def shown(self, offer_id: str, num_chars: int, language_id: str | None) -> None:
        """An offer was sent to be shown; counted once for each id."""
        if offer_id in self._offers:
            return
        taken = self._offers[offer_id] = _Taken(word(language_id))
        if len(self._offers) > _MAX_OFFERS:
            self._offers.popitem(last=False)
        self._add(1, "shown")
        self._add(max(0, num_chars), "shown_chars")
        self._add(1, "languages", taken.language, "shown")

    @_quietly
    def typed_through(self, offer_id: str, num_chars: int) -> None:
        """The first `num_chars` characters of the offer have been typed."""
        taken = self._offers.get(offer_id)
        if taken is None or taken.is_accepted or num_chars <= taken.num_typed:
            return
        self._add(0 if taken.num_typed else 1, "typed_through")
        self._add(num_chars - taken.num_typed, "typed_chars")
        taken.num_typed = num_chars

    @_quietly
    def partly_accepted(self, offer_id: str, num_chars: int) -> None:
        """The offer has been taken up to its first `num_chars` characters."""
        taken = self._offers.get(offer_id)
        if taken is None or taken.is_accepted or num_chars <= taken.num_partly:
            return
        self._add(0 if taken.num_partly else 1, "partly_accepted")
        self._add(max(0, num_chars - max(taken.num_partly, taken.num_typed)), "partly_chars")
        taken.num_partly = num_chars

    @_quietly
    def accepted(self, offer_id: str, num_chars: int) -> None:
        """The offer, which is `num_chars` long, has been taken to its end."""
        taken = self._offers.get(offer_id)
        if taken is None or taken.is_accepted:
            return
        taken.is_accepted = True
        self._add(1, "accepted")
        self._add(max(0, num_chars), "accepted_chars")
        self._add(1, "languages", taken.language, "accepted")
        self._add(max(0, num_chars), "languages", taken.language, "accepted_chars")

    @_quietly
    def dismissed(self, offer_id: str) -> None:
        """The user has gone on without the offer."""
        taken = self._offers.pop(offer_id, None)
        if taken is not None and not (taken.is_accepted or taken.num_partly):
            self._add(1, "dismissed")

    @_quietly
    def survived(self, after_s: int, num_chars: int, num_kept_chars: int, *, is_kept: bool) -> None:
        """`after_s` seconds after it was taken, so much of a text was still in the document."""
        self._add(1, "survival", str(after_s), "checked")
        self._add(1 if is_kept else 0, "survival", str(after_s), "kept")
        self._add(num_chars, "survival", str(after_s), "chars")
        self._add(num_kept_chars, "survival", str(after_s), "kept_chars")

    def summary(self) -> Mapping[str, int]:
        """What this process has counted since it began, without languages and stages."""
        with self._lock:
            return dict(self._summary)

    def flush(self) -> None:
        """Write what has been counted, and return when that is done or has failed."""
        if (writing := self._writing) is not None:
            writing.join()
        self._write(self._take_pending())

    def close(self) -> None:
        """`flush`, for the end of the process."""
        atexit.unregister(self.close)
        self.flush()

    def _add(self, number: int, *names: str) -> None:
        if number:
            add(self._pending.setdefault(self._today(), {}), number, *names)
            if len(names) == 1:
                self._summary[names[0]] = self._summary.get(names[0], 0) + number

    def _write_when_due(self) -> None:
        is_writing = self._writing is not None and self._writing.is_alive()
        if is_writing or self._clock() - self._written_s < _WRITE_EVERY_S:
            return
        self._written_s = self._clock()
        pending = self._take_pending()
        self._writing = threading.Thread(
            target=self._write, args=(pending,), name="statistics", daemon=True
        )
        self._writing.start()

    def _take_pending(self) -> dict[str, Counts]:
        with self._lock:
            pending, self._pending = self._pending, {}
        return pending

    def _write(self, pending: dict[str, Counts]) -> None:
        if not pending:
            return
        try:
            self._store.add(pending)
        except Exception as error:
            # A disk that is full or a folder that is not ours costs figures, nothing else.
            logger.warning("The statistics could not be written (%s).", type(error).__name__)
