"""Where an engine listens: the runtime folder, the default Unix socket, and EngineAddress.

Used by the engine when it binds and by every client that looks for it; no torch, no HTTP.
"""

from __future__ import annotations

import os
import stat
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from engine.errors import EngineError

PROTOCOL_VERSION = 3
"""Number of the HTTP interface; /health tells it, clients refuse an engine with another one."""

RUNTIME_DIR_VARIABLE = "NEMODIFF_RUNTIME_DIR"

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
    return runtime_dir() / "engine.sock"


@dataclass(frozen=True, slots=True)
class EngineAddress:
    """A Unix socket path or an http(s) URL without a trailing slash; exactly one of the two."""

    socket: Path | None = None
    url: str | None = None

    def __post_init__(self) -> None:
        if (self.socket is None) == (self.url is None):
            raise AddressError("An engine's address is either a socket path or a URL.")
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
        """The user's own engine. Raises AddressError."""
        return cls(socket=default_socket())

    @classmethod
    def parse(cls, text: str) -> EngineAddress:
        """Read ``unix:PATH``, a path, or ``http://HOST:PORT``. Raises AddressError."""
        if text.startswith(("http://", "https://")):
            return cls(url=_checked_url(text))
        path = text.removeprefix("unix:")
        if not path or "://" in text or "\0" in path:
            raise AddressError(
                f"{text!r} is no engine address; use a socket path or http://HOST:PORT."
            )
        return cls(socket=Path(path).expanduser().absolute())

    def __str__(self) -> str:
        return f"unix:{self.socket}" if self.socket is not None else str(self.url)

    @property
    def is_local(self) -> bool:
        """Whether the engine must be on this machine: a Unix socket or a loopback URL."""
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


def _checked_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise AddressError(f"{text!r} is no engine address; use http://HOST:PORT.")
    return text.rstrip("/")
