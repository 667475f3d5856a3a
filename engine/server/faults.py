"""What is told and what is logged when something goes wrong: sentences for users, no request text.

Used by the engine thread, the HTTP interface and the command line. Imports nothing heavy.
"""

from __future__ import annotations

import logging
import traceback

from engine.errors import EngineError
from engine.server.job import Failure

logger = logging.getLogger(__name__)

STOPPING = Failure(
    503, "The engine is stopping; start it again and repeat the request.", "stopping"
)
DRAINING = Failure(
    503, "The engine is about to end and takes no new requests; start another one.", "draining"
)
INTERNAL_FAULT = Failure(
    500,
    "The engine failed on this request by a fault of its own; its log has the details, "
    "and it takes further requests.",
    "error",
)


def overload(num_waiting: int) -> Failure:
    """Refuses a request for which there is no room."""
    return Failure(
        503,
        f"The engine is busy: {num_waiting} requests are waiting; try again later.",
        "overload",
    )


def wrong_model(loaded: str) -> Failure:
    """Refuses a request for another model than `loaded`."""
    return Failure(
        404,
        f"model: this engine has {loaded!r} loaded; ask for that, or leave model out.",
        "model_not_found",
        "model",
    )


def user_errors() -> tuple[type[Exception], ...]:
    """The exceptions whose message already is one sentence for the user."""
    # Imported only once something failed: the command line starts without these packages.
    from engine.models.config import ConfigError
    from engine.weights.errors import WeightsError

    return (EngineError, ConfigError, WeightsError)


def load_failure_sentence(error: Exception) -> str:
    """What to tell the user about a failed load; a surprise also gets its traceback logged."""
    if isinstance(error, user_errors()):
        return str(error)
    # No request has been read at this point, so the message cannot quote one.
    logger.error("Loading the model failed", exc_info=error)
    first_line = (str(error).splitlines() or [""])[0]
    return f"The model could not be loaded ({type(error).__name__}: {first_line})."


def log_without_text(error: BaseException) -> None:
    """Log where `error` arose, but not its message, which may quote the request's text."""
    frames = traceback.extract_tb(error.__traceback__)
    where = " < ".join(f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in frames[::-1])
    logger.error("A request failed with %s at %s", type(error).__name__, where)
