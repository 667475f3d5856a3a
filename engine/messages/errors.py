"""What can go wrong between a client and an engine; each message is one sentence for the user.

Raised by `client.py` and `launch.py`. Apart from them, so that the language server can name these
errors without paying for the HTTP library before its first reply.
"""

from __future__ import annotations

from engine.errors import EngineError


class EngineUnavailable(EngineError):
    """No usable engine answered. One sentence."""


class NoEngineError(EngineUnavailable):
    """Nothing listens there, or what did broke the connection off."""


class ConnectionLostError(NoEngineError):
    """The engine had the request and went away before it answered."""


class OtherVersionError(EngineUnavailable):
    """An engine with another protocol number; `pid` is its process where it told one."""

    def __init__(self, message: str, protocol: int, pid: int | None) -> None:
        super().__init__(message)
        self.protocol = protocol
        self.pid = pid


class EngineRefused(EngineError):
    """The engine answered with an error.

    `field` is the request field at fault, if one is; `code` the engine's short word for the cause.
    """

    def __init__(
        self, message: str, field: str | None, status: int, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.field = field
        self.status = status
        self.code = code

    @property
    def is_leaving(self) -> bool:
        """Whether the engine is about to end, so that another one may take the request."""
        return self.code in ("stopping", "draining")
