"""The client's configuration and folders, and the engine that the settings name.

`register` adds the handlers to the server. The client's answer to our question is never awaited: it
comes when it comes, and the settings are read anew.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from lsprotocol import types
from pygls.uris import to_fs_path
from pygls.workspace import Workspace

from engine.messages.address import AddressError
from nemodiff_lsp.link.engine_options import EngineChoice, EngineOptions, resolve
from nemodiff_lsp.settings.settings import SECTION, Settings

if TYPE_CHECKING:
    from nemodiff_lsp.server import NemoDiffServer


def register(server: NemoDiffServer) -> None:
    """Add the handlers."""
    server.feature(types.WORKSPACE_DID_CHANGE_CONFIGURATION)(_did_change_configuration)
    server.feature(types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS)(_did_change_folders)


def folders_of(workspace: Workspace) -> tuple[Path, ...]:
    """The opened folders; for clients that know of one only, that one."""
    uris = [folder.uri for folder in workspace.folders.values()]
    if not uris and workspace.root_uri is not None:
        uris = [workspace.root_uri]
    paths = (to_fs_path(uri) for uri in uris)
    return tuple(Path(path) for path in paths if path)


def shown_path(uri: str, folders: tuple[Path, ...]) -> str | None:
    """A file's path within its folder, or its name alone; None for what is no file."""
    path = to_fs_path(unquote(uri))
    if not path:
        return None
    file = Path(path)
    for folder in folders:
        if file.is_relative_to(folder):
            return file.relative_to(folder).as_posix()
    return file.name


def pull(server: NemoDiffServer) -> None:
    """Ask the client for our part of its configuration, if it answers such questions."""
    workspace = server.client_capabilities.workspace
    if workspace is None or not workspace.configuration:
        return
    params = types.ConfigurationParams([types.ConfigurationItem(section=SECTION)])
    answer = server.protocol.send_request(types.WORKSPACE_CONFIGURATION, params)
    answer.add_done_callback(lambda future: _take(server, future))


def use_engine(server: NemoDiffServer, named: EngineOptions) -> None:
    """Join the engine that the settings choose, or `named`, that of the command line."""
    try:
        options = chosen_engine(server.settings, named)
    except AddressError as error:
        server.show(types.MessageType.Warning, f"NemoDiff: {error}")
        return
    if options != server.link.options:
        server.keep(asyncio.ensure_future(server.link.configure(options)))
    server.link.start()


def chosen_engine(settings: Settings, named: EngineOptions) -> EngineOptions:
    """The engine to use. What the command line names goes before the settings.

    Raises AddressError for an address in the settings that is none.
    """
    if named.is_usual and (settings.engine_url or settings.engine_socket):
        token_file = settings.engine_token_file
        choice = EngineChoice(
            socket=settings.engine_socket,
            url=settings.engine_url,
            token_file=Path(token_file).expanduser() if token_file else None,
            model=settings.model,
            may_start=named.may_start,
        )
        return resolve(choice)
    if settings.model and not any(each.startswith("--model") for each in named.arguments):
        return replace(named, arguments=(*named.arguments, f"--model={settings.model}"))
    return named


def _did_change_configuration(
    ls: NemoDiffServer, params: types.DidChangeConfigurationParams
) -> None:
    if params.settings is None:
        # "Ask me": so do clients that only ever answer questions.
        pull(ls)
    else:
        ls.set_configuration(params.settings)


def _did_change_folders(ls: NemoDiffServer, params: types.DidChangeWorkspaceFoldersParams) -> None:
    ls.set_folders()


def _take(server: NemoDiffServer, answer: Future[Any]) -> None:
    if answer.cancelled() or answer.exception() is not None:
        return
    values = answer.result()
    if isinstance(values, (list, tuple)) and values and values[0] is not None:
        server.set_configuration({SECTION: values[0]})
