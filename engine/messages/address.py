"""Where an engine listens: the runtime folder, the default socket, and EngineAddress.

Used by the engine when it binds and by every client that looks for it; no torch, no HTTP.
"""

from __future__ import annotations

import os
import stat
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from engine.errors import EngineError

PROTOCOL_VERSION = 3
"""Number of the HTTP interface; /health tells it, clients refuse an engine with another one."""

RUNTIME_DIR_VARIABLE = "NEMODIFF_RUNTIME_DIR"
TCP_VARIABLE = "NEMODIFF_TCP"
"""Set to 1: the user's own engine listens on loopback TCP even where there are Unix sockets."""
TOKEN_VARIABLE = "NEMODIFF_ENGINE_TOKEN"
"""Holds the token for an engine elsewhere; never an argument, which every user's `ps` can see."""

SOCKET_NAME = "engine.sock"
ENDPOINT_NAME = "engine.json"
_ENDPOINT_PREFIX = "tcp:"
_MAX_TOKEN_CHARS = 512

# sun_path holds 108 bytes on Linux and 104 on macOS and the BSDs, the closing NUL included.
MAX_SOCKET_PATH_BYTES = 107 if sys.platform.startswith("linux") else 103


class AddressError(EngineError):
    """An address or a folder for a socket that cannot be used; one sentence."""


def ensure_private_folder(folder: Path) -> None:
    """Create `folder` with mode 0700, or check that it is the user's own and closed to others.

    The socket in it accepts work and answers with source text, so nobody else may reach it.
    Raises AddressError.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise AddressError(
            f"The folder {folder} for the engine's socket cannot be made ({error.strerror}); "
            f"set {RUNTIME_DIR_VARIABLE} to a folder of your own."
        ) from None
    if not stat.S_ISDIR(found.st_mode):
        raise AddressError(
            f"{folder} is not a folder (a link is not accepted); remove it or set "
            f"{RUNTIME_DIR_VARIABLE} to a folder of your own."
        )
    if sys.platform == "win32":
        return
    if found.st_uid != os.getuid():
        raise AddressError(
            f"The folder {folder} belongs to another user; put the engine's socket into "
            f"a folder of your own (--socket, or {RUNTIME_DIR_VARIABLE})."
        )
    if found.st_mode & 0o077:
        raise AddressError(
            f"The folder {folder} is open to other users (mode {found.st_mode & 0o777:04o}); "
            f"run `chmod 700` on it or put the engine's socket into another folder."
        )


def runtime_path() -> Path:
    """The runtime folder's path, whether it exists or not. Raises AddressError."""
    override = os.environ.get(RUNTIME_DIR_VARIABLE)
    if override:
        return Path(override).absolute()
    # Imported here because most callers name their address and never need it.
    import platformdirs

    try:
        with warnings.catch_warnings():
            # Without XDG_RUNTIME_DIR it warns about its fall-back, which is checked below anyway.
            warnings.simplefilter("ignore")
            return platformdirs.user_runtime_path("nemodiff")
    except OSError as error:
        raise AddressError(
            f"No folder for the engine's socket ({error}); set {RUNTIME_DIR_VARIABLE}."
        ) from None


def runtime_dir() -> Path:
    """The user's runtime folder, created 0700 and checked for ownership. Raises AddressError."""
    folder = runtime_path()
    ensure_private_folder(folder)
    return folder


def default_socket() -> Path:
    """The Unix socket on which the user's engine listens. Raises AddressError."""
    return runtime_dir() / SOCKET_NAME


def has_unix_sockets() -> bool:
    """Whether the user's own engine listens on a Unix socket; otherwise on loopback TCP."""
    if os.environ.get(TCP_VARIABLE, "") not in ("", "0"):
        return False
    # Python's event loop serves them nowhere on Windows, whatever the system itself can do.
    return sys.platform != "win32"


@dataclass(frozen=True, slots=True)
class EngineAddress:
    """Where an engine is reached: exactly one of a Unix socket, an endpoint file and a URL.

    endpoint_file: the file in which an engine on loopback TCP tells its port and token. url:
    http(s), without a trailing slash. token: what the engine at `url` asks for, if anything.
    """

    socket: Path | None = None
    url: str | None = None
    endpoint_file: Path | None = None
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if sum(x is not None for x in (self.socket, self.url, self.endpoint_file)) != 1:
            raise AddressError("An engine's address is one of socket path, endpoint file and URL.")
        if self.token is not None:
            _check_token(self.token)
        if self.socket is not None:
            num_bytes = len(os.fsencode(self.socket))
            if num_bytes > MAX_SOCKET_PATH_BYTES:
                raise AddressError(
                    f"The socket path {self.socket} is {num_bytes} bytes long; the system allows "
                    f"{MAX_SOCKET_PATH_BYTES}, so choose a shorter one (--socket, or "
                    f"{RUNTIME_DIR_VARIABLE})."
                )

    @classmethod
    def default(cls) -> EngineAddress:
        """The user's own engine, in a runtime folder that is made. Raises AddressError."""
        return cls.within(runtime_dir())

    @classmethod
    def within(cls, folder: Path) -> EngineAddress:
        """The engine of the runtime folder `folder`, which need not exist. Raises AddressError."""
        if has_unix_sockets():
            return cls(socket=folder / SOCKET_NAME)
        return cls(endpoint_file=folder / ENDPOINT_NAME)

    @classmethod
    def parse(cls, text: str) -> EngineAddress:
        """Read ``unix:PATH``, a path, ``tcp:ENDPOINT_FILE`` or ``http://HOST:PORT``.

        Raises AddressError.
        """
        if text.startswith(("http://", "https://")):
            return cls(url=_checked_url(text))
        is_endpoint = text.startswith(_ENDPOINT_PREFIX)
        path = text.removeprefix(_ENDPOINT_PREFIX if is_endpoint else "unix:")
        if not path or "://" in text or "\0" in path:
            raise AddressError(
                f"{text!r} is no engine address; use a socket path or http://HOST:PORT."
            )
        found = Path(path).expanduser().absolute()
        return cls(endpoint_file=found) if is_endpoint else cls(socket=found)

    @classmethod
    def elsewhere(cls, text: str, token: str | None, *, is_plain_allowed: bool) -> EngineAddress:
        """The engine at the URL `text`, which may be on another machine. Raises AddressError.

        is_plain_allowed: accept http:// beyond this machine, where everybody on the way can read
        the code and the token.
        """
        if not text.startswith(("http://", "https://")):
            raise AddressError(f"{text!r} is no engine URL; use https://HOST:PORT.")
        address = cls(url=_checked_url(text), token=token)
        if not (is_plain_allowed or address.is_local or text.startswith("https://")):
            raise AddressError(
                f"{text} is not encrypted: everybody on the way can read your code; use https, or "
                "say --insecure-engine-url if you trust that network."
            )
        return address

    def __str__(self) -> str:
        if self.socket is not None:
            return f"unix:{self.socket}"
        if self.endpoint_file is not None:
            return f"{_ENDPOINT_PREFIX}{self.endpoint_file}"
        return str(self.url)

    @property
    def path(self) -> Path | None:
        """The socket or endpoint file, beside which lock and log lie; None for a URL."""
        return self.socket if self.socket is not None else self.endpoint_file

    @property
    def is_local(self) -> bool:
        """Whether the engine must be on this machine: every kind but a URL that is not loopback."""
        return self.url is None or is_loopback_host(urlsplit(self.url).hostname or "")


def is_loopback_host(host: str) -> bool:
    """Whether `host` (no port, no brackets) names this machine by a loopback name or address."""
    if host.lower().rstrip(".") == "localhost":
        return True
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_token(path: Path) -> str:
    """The token in the first line of a file. Raises AddressError; the message never quotes it."""
    try:
        with path.open("rb") as file:
            line = file.readline(_MAX_TOKEN_CHARS + 3)
        token = line.decode("ascii").strip()
    except OSError as error:
        raise AddressError(f"The token file {path} cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        token = ""
    _check_token(token, where=f" in {path}")
    return token


def _check_token(token: str, where: str = "") -> None:
    # What a header can carry; anything else would fail later and less clearly.
    is_fine = token.isascii() and token.isprintable() and " " not in token
    if not (token and is_fine and len(token) <= _MAX_TOKEN_CHARS):
        raise AddressError(
            f"The engine's token{where} must be one line of 1 to {_MAX_TOKEN_CHARS} visible ASCII "
            "characters without spaces."
        )


def _checked_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        usable = False
    if not usable or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise AddressError(f"{text!r} is no engine address; use http://HOST:PORT.")
    return text.rstrip("/")
