"""The commands of workspace/executeCommand, and the code actions that lead to them.

`register` adds them to the language server. pygls' own handling is replaced: it cannot cancel a
command, and answers wrong arguments with a traceback. Here a call that cannot be carried out shows
one sentence and its result is null.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

from lsprotocol import types

from engine.errors import EngineError
from engine.messages.completion import MODES, Mode
from nemodiff_lsp.commands.arguments import ArgumentError, Arguments, boolean, one_of, text
from nemodiff_lsp.commands.code_actions import KINDS, code_actions
from nemodiff_lsp.commands.host import Host
from nemodiff_lsp.commands.long_work import StoppedError
from nemodiff_lsp.commands.names import FILL_HOLES, REPAIR_RANGE
from nemodiff_lsp.commands.report import ProblemLog, report_text
from nemodiff_lsp.commands.tools import RefusedError, deliver_edit, readable_document
from nemodiff_lsp.completion.offer_steps import next_line, next_word
from nemodiff_lsp.documents.edits import Replacement, workspace_edit
from nemodiff_lsp.switches import Scope

logger = logging.getLogger(__name__)

DID_ACCEPT = "nemodiff.didAccept"
COPILOT_DID_ACCEPT = "github.copilot.didAcceptCompletionItem"

Given = Sequence[Any] | None
Command = Callable[[Given, types.ProgressToken | None], Awaitable[Any]]
H = TypeVar("H", bound=Host)


class Commands:
    """The commands of one server; results are JSON values, failures ArgumentError, RefusedError."""

    def __init__(self, host: Host, problems: ProblemLog) -> None:
        self._host = host
        self._problems = problems
        self.client_name = ""
        self._table: dict[str, Command] = {
            "nemodiff.showStatus": self._show_status,
            "nemodiff.why": self._why,
            "nemodiff.toggle": self._toggle,
            "nemodiff.setMode": self._set_mode,
            "nemodiff.restartEngine": self._restart_engine,
            "nemodiff.report": self._report,
            "nemodiff.acceptNextWord": lambda given, _: self._accept(
                "nemodiff.acceptNextWord", next_word, given
            ),
            "nemodiff.acceptNextLine": lambda given, _: self._accept(
                "nemodiff.acceptNextLine", next_line, given
            ),
            FILL_HOLES: self._fill_holes,
            REPAIR_RANGE: self._repair_range,
            DID_ACCEPT: self._did_accept,
            COPILOT_DID_ACCEPT: self._did_accept,
        }

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._table)

    async def execute(self, params: types.ExecuteCommandParams) -> Any:
        """The command's result; null after a sentence to the user when there is none."""
        command = self._table.get(params.command)
        try:
            if command is None:
                raise RefusedError(f"There is no command {params.command[:60]!r}.")
            return await command(params.arguments, params.work_done_token)
        except (ArgumentError, RefusedError, EngineError) as problem:
            self._host.show(types.MessageType.Warning, f"NemoDiff: {problem}")
        except StoppedError:
            self._host.show(types.MessageType.Info, "NemoDiff: stopped; nothing was changed.")
        except Exception as error:
            logger.error("A command failed (%s).", type(error).__name__)
            logger.debug("The failed command:", exc_info=True)
            self._host.show(
                types.MessageType.Error, f"NemoDiff: the command failed ({type(error).__name__})."
            )
        return None

    async def _show_status(self, given: Given, _: object) -> str:
        Arguments("nemodiff.showStatus", given, ())
        sentence = self._host.status.sentence()
        self._host.show(types.MessageType.Info, f"NemoDiff: {sentence}")
        return sentence

    async def _why(self, given: Given, _: object) -> str:
        """Why nothing was shown for the last request of a document (argument: uri), or of any."""
        host = self._host
        uri = Arguments("nemodiff.why", given, ("uri",)).optional("uri", text)
        reason = (uri and self._off_or_excluded(uri)) or host.why.last(uri)
        host.show(types.MessageType.Info, f"NemoDiff: {reason}")
        return reason

    def _off_or_excluded(self, uri: str) -> str | None:
        """What holds for every request in the document, whether there has been one or not."""
        host = self._host
        document = host.open_document(uri)
        if document is None:
            return None
        off = host.switches.off_because(host.settings, uri, document.language_id)
        verdict = host.policy.judge(uri, document.source, language_id=document.language_id)
        return off or (None if verdict.is_allowed else verdict.reason)

    async def _toggle(self, given: Given, _: object) -> dict[str, Any]:
        """Arguments: scope (global, the default, language or document), uri or language, enabled.

        Returns {scope, enabled}.
        """
        host = self._host
        names = ("scope", "uri", "language", "enabled")
        arguments = Arguments("nemodiff.toggle", given, names)
        read_scope = one_of("global", "language", "document")
        scope = cast(Scope, arguments.optional("scope", read_scope) or "global")
        uri = arguments.optional("uri", text) or ""
        language = arguments.optional("language", text)
        to = arguments.optional("enabled", boolean)
        # By place, a language is where an address would be.
        if scope == "language" and uri and ":" not in uri and language is None:
            uri, language = "", uri
        document = host.open_document(uri) if uri else None
        if document is not None and language is None:
            language = document.language_id
        if scope == "language" and language is None:
            raise arguments.error("needs the argument 'language', or the 'uri' of an open document")
        if scope == "document" and not uri:
            raise arguments.error("needs the argument 'uri'")
        is_on = host.switches.toggle(scope, host.settings, uri=uri, language_id=language, to=to)
        what = {"global": "", "language": f" for {language}", "document": " for this document"}
        sentence = f"NemoDiff is switched {'on' if is_on else 'off'}{what[scope]}."
        if scope == "global" and is_on:
            host.status.resume()
        elif scope == "global":
            host.status.set_state("paused", sentence)
        host.show(types.MessageType.Info, sentence)
        return {"scope": scope, "enabled": is_on}

    async def _set_mode(self, given: Given, _: object) -> str:
        """Argument: mode. It holds until the settings change."""
        host = self._host
        mode = Arguments("nemodiff.setMode", given, ("mode",)).required("mode", one_of(*MODES))
        host.settings = replace(host.settings, mode=cast(Mode, mode))
        host.completer.on_settings(host.settings)
        host.show(types.MessageType.Info, f"NemoDiff: the mode is {mode} now.")
        return mode

    async def _restart_engine(self, given: Given, _: object) -> bool:
        Arguments("nemodiff.restartEngine", given, ())
        await self._host.link.restart()
        self._host.show(types.MessageType.Info, "NemoDiff: the engine is being restarted.")
        return True

    async def _report(self, given: Given, _: object) -> str:
        Arguments("nemodiff.report", given, ())
        report = report_text(self._host, client=self.client_name, problems=self._problems.lines())
        # Few editors show the result of a command; all of them keep a log.
        self._host.tell(types.MessageType.Info, report)
        return report

    # Imported when they are called: the first reply of the server must not wait for them.

    async def _fill_holes(self, given: Given, token: types.ProgressToken | None) -> Any:
        from nemodiff_lsp.commands.fill_holes import fill_holes

        return await fill_holes(self._host, given, token)

    async def _repair_range(self, given: Given, token: types.ProgressToken | None) -> Any:
        from nemodiff_lsp.commands.repairs import repair_range

        return await repair_range(self._host, given, token)

    async def _accept(
        self, name: str, step: Callable[[str], str], given: Given
    ) -> dict[str, Any] | None:
        """Insert the next piece of what is offered. Arguments: uri.

        Returns {text, position}: what was inserted and where the cursor belongs; and {edit} when
        the client does not apply edits itself. Null when nothing is offered at this version.
        """
        host = self._host
        uri = Arguments(name, given, ("uri",)).required("uri", text)
        document = readable_document(host, uri)
        offer = host.offers.current(uri)
        if offer is None or not offer.text or offer.version != document.version:
            return None
        piece = step(offer.text)
        at = document.offset_of(offer.position)
        edit = workspace_edit(
            document, [Replacement(at, at, piece)], host.protocol.client_capabilities
        )
        # The statistics see it in the document, as they do with clients that insert it themselves.
        behind = replace(
            document, text=document.text[:at] + piece + document.text[at:]
        ).position_of(at + len(piece))
        return {"text": piece, "position": behind, **deliver_edit(host, edit, "NemoDiff")}

    async def _did_accept(self, given: Given, _: object) -> None:
        """An item was taken. Arguments: as `item_command` has them, or Copilot's: the id alone.

        It is the item's own command, so what cannot be read is ignored: an error would be shown
        upon each accepted item.
        """
        values = given[0] if given and isinstance(given[0], Mapping) else None
        if values is None:
            values = dict(zip(("offerId", "numChars"), given or (), strict=False))
        offer_id, num_chars = values.get("offerId"), values.get("numChars")
        if isinstance(offer_id, str):
            self._host.recorder.accepted(offer_id, num_chars if isinstance(num_chars, int) else 0)


def item_command(offer_id: str, num_chars: int, *, is_copilots: bool = False) -> types.Command:
    """The command that an item carries, so that the client tells that it was taken.

    num_chars: length of the text. is_copilots: for clients that know Copilot's name only.
    """
    name = COPILOT_DID_ACCEPT if is_copilots else DID_ACCEPT
    return types.Command(title="Accepted", command=name, arguments=[offer_id, num_chars])


def register(server: Host) -> Commands:
    """Add the commands and the code actions to `server`."""
    problems = ProblemLog()
    logging.getLogger("nemodiff_lsp").addHandler(problems)
    commands = Commands(server, problems)
    manager = server.protocol.fm

    async def execute(params: types.ExecuteCommandParams) -> Any:
        return await commands.execute(params)

    def actions(params: types.CodeActionParams) -> list[types.CodeAction | types.Command]:
        return code_actions(server, params)

    async def announced(*_: object) -> None:
        """Never called: pygls only reads the names of its commands."""

    for name in commands.names:
        manager.command(name)(announced)
    manager.add_builtin_feature(types.WORKSPACE_EXECUTE_COMMAND, execute)
    options = types.CodeActionOptions(code_action_kinds=list(KINDS))
    manager.feature(types.TEXT_DOCUMENT_CODE_ACTION, options)(actions)
    return commands
