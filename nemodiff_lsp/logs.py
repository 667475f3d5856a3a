"""Logging of the language server: to stderr or a file, never source text above DEBUG.

Called once by `__main__.py`.
"""

from __future__ import annotations

import logging
from pathlib import Path

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

_FOREIGN = ("pygls", "asyncio", "httpx", "httpcore", "cattrs")
# A client that cancels a request which has just been answered; happens all the time.
_NOISE = "Cancel notification for unknown message id"


class PrivacyFilter(logging.Filter):
    """Strips what other libraries put into their records: messages hold the user's text.

    pygls logs whole parameters and tracebacks with values when a message cannot be handled. What
    stays of such a record is its constant part and the type of the exception.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.partition(".")[0] not in _FOREIGN:
            return True
        template = str(record.msg).partition("%")[0].partition("\n")[0].strip(" '\":")
        if template.startswith(_NOISE):
            return False
        error = record.exc_info[0] if record.exc_info else None
        record.msg = f"{template} ({error.__name__})" if error is not None else template
        record.args = ()
        record.exc_info = None
        record.exc_text = None
        record.stack_info = None
        return True


def configure_logging(level: str, path: Path | None) -> None:
    """Send all records of `level` and above to the file `path`, or to stderr when it is None.

    Raises OSError when the file cannot be opened.
    """
    handler: logging.Handler = logging.StreamHandler()
    if path is not None:
        handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    if level != "DEBUG":
        handler.addFilter(PrivacyFilter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # At INFO pygls logs every body it sends.
    for name in _FOREIGN:
        logging.getLogger(name).setLevel(logging.WARNING)
