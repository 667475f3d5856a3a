"""Logging of the language server: to stderr or a file, never source text above DEBUG.

Called once by `__main__.py`.
"""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from types import TracebackType

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

_OWN = ("nemodiff_lsp", "engine")
_FOREIGN = ("pygls", "asyncio", "httpx", "httpcore", "cattrs")
# A client that cancels a request which has just been answered; happens all the time.
_NOISE = "Cancel notification for unknown message id"


class PrivacyFilter(logging.Filter):
    """Strips what may hold the user's text: other libraries' arguments, all errors' messages.

    pygls logs whole parameters and tracebacks with values when a message cannot be handled. What
    stays of such a record is its constant part and the type of the exception; of our own records
    the message, and of an exception its type and where it went through.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[0] if record.exc_info else None
        path = record.exc_info[2] if record.exc_info else None
        record.exc_info = None
        record.exc_text = None
        record.stack_info = None
        if record.name.partition(".")[0] in _OWN:
            if error is not None:
                record.msg = f"{record.getMessage()} ({error.__name__}{_way_of(path)})"
                record.args = ()
            return True
        template = str(record.msg).partition("%")[0].partition("\n")[0].strip(" '\":")
        if template.startswith(_NOISE):
            return False
        record.msg = f"{template} ({error.__name__})" if error is not None else template
        record.args = ()
        return True


def configure_logging(level: str, path: Path | None) -> None:
    """Send our records of `level` and above, and others' warnings, to `path`, or to stderr if None.

    A new file is readable by the user alone. Raises OSError when it cannot be opened.
    """
    handler: logging.Handler = logging.StreamHandler()
    if path is not None:
        handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    if level != "DEBUG":
        handler.addFilter(PrivacyFilter())
    others = max(logging.WARNING, logging.getLevelNamesMapping()[level])
    logging.basicConfig(level=others, handlers=[handler], force=True)
    # At INFO pygls logs every body it sends, and a library that is added later may do the same.
    for name in _FOREIGN:
        logging.getLogger(name).setLevel(others)
    # The package is __main__ where `nemodiff lsp` runs it.
    for name in (*_OWN, "__main__"):
        logging.getLogger(name).setLevel(level)


def _way_of(path: TracebackType | None) -> str:
    """The innermost places of a traceback, without the lines of code and the values."""
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(path)]
    return f" at {' > '.join(places[-4:])}" if places else ""
