"""EngineOptions: which engine a language server uses, and whether it may start one.

Made by `__main__.py` from the command line and the environment, and from the settings.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.messages.address import TOKEN_VARIABLE, AddressError, EngineAddress, read_token


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Where the engine listens, the arguments for one that we start, and whether we may.

    is_usual: the user's own engine, because nothing else was named.
    """

    address: EngineAddress
    arguments: tuple[str, ...] = ()
    may_start: bool = True
    is_usual: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineChoice:
    """What the user says about the engine; None or False for what they leave open.

    socket: path of a local engine's socket. url: an engine elsewhere, and then no other one is
    ever used or started. token_file: holds its token. is_plain_allowed: accept a url without TLS
    beyond this machine. model, idle_exit_minutes: for an engine that has to be started.
    """

    socket: str | None = None
    url: str | None = None
    token_file: Path | None = None
    is_plain_allowed: bool = False
    model: str | None = None
    idle_exit_minutes: float | None = None
    may_start: bool = True


def resolve(choice: EngineChoice, environment: Mapping[str, str] = os.environ) -> EngineOptions:
    """The options that `choice` means. Raises AddressError."""
    if choice.url is not None:
        if choice.socket is not None:
            raise AddressError("Choose an engine's socket or its URL, not both.")
        return EngineOptions(_elsewhere(choice, choice.url, environment), may_start=False)
    if choice.token_file is not None:
        raise AddressError("A token file is for an engine elsewhere; name its URL, too.")
    arguments: list[str] = []
    if choice.model:
        # Joined, because a value may begin with a dash.
        arguments.append(f"--model={choice.model}")
    if choice.idle_exit_minutes is not None:
        arguments.append(f"--idle-exit-minutes={choice.idle_exit_minutes:g}")
    socket = choice.socket
    address = EngineAddress.parse(socket) if socket else EngineAddress.default()
    # What stands at a URL is nothing that we could start.
    may_start = choice.may_start and address.path is not None
    return EngineOptions(address, tuple(arguments), may_start, is_usual=not socket)


def _elsewhere(choice: EngineChoice, url: str, environment: Mapping[str, str]) -> EngineAddress:
    token = environment.get(TOKEN_VARIABLE) or None
    if choice.token_file is not None:
        token = read_token(choice.token_file)
    return EngineAddress.elsewhere(url, token, is_plain_allowed=choice.is_plain_allowed)
