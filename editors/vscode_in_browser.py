"""Serves the VS Code of `make vscode` for a browser until Ctrl-C, where there is no desktop's.

Run as ``.venv/bin/python editors/vscode_in_browser.py [FILE] [--port PORT]``. Only this machine can
reach it, and only with the token that the printed address holds.
"""

from __future__ import annotations

import argparse
import json
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

from installing import vscode_extension

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "docs" / "examples" / "inventory.py"
HOST = "127.0.0.1"
SETTINGS = {
    "chat.disableAIFeatures": True,
    "telemetry.telemetryLevel": "off",
    "update.mode": "none",
    "workbench.secondarySideBar.defaultVisibility": "hidden",
    "workbench.startupEditor": "none",
}
_POLL_S = 0.1


def address(file: Path, port: int, token: str) -> str:
    """Of a window on the folder of `file`, with the file open."""
    remote = f"vscode-remote://{HOST}:{port}{quote(str(file))}"
    payload = quote(json.dumps([["openFile", remote], ["skipWelcome", "true"]]))
    folder = quote(str(file.parent))
    return f"http://{HOST}:{port}/?tkn={token}&folder={folder}&payload={payload}"


def serve(file: Path, port: int) -> int:
    """Serve until Ctrl-C or until the server ends; the exit code."""
    token = secrets.token_urlsafe(16)
    options = ["--host", HOST, "--port", str(port), "--connection-token", token]
    options += ["--telemetry-level", "off", "--disable-workspace-trust"]
    command = [*vscode_extension.stand_in_command(), *options]
    data = vscode_extension.stand_in_data()
    _write_settings(data / "data" / "Machine" / "settings.json")
    with (
        (data / "server.log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as server,
    ):
        try:
            while not _is_listening(port):
                if server.poll() is not None:
                    sys.stderr.write(f"VS Code could not be served: see {log.name}.\n")
                    return 1
                time.sleep(_POLL_S)
            sys.stdout.write(f"Open {address(file, port, token)}\nCtrl-C ends it.\n")
            sys.stdout.flush()
            return server.wait()
        except KeyboardInterrupt:
            server.terminate()
            server.wait()
            return 0


def _write_settings(path: Path) -> None:
    """Those that a first start would ask for; none that is there is changed."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(SETTINGS, indent=2) + "\n", encoding="utf-8")


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="vscode_in_browser.py", description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=EXAMPLE)
    parser.add_argument("--port", type=int, default=8713)
    given = parser.parse_args()
    if not given.file.is_file():
        parser.error(f"{given.file} is not a file.")
    if _is_listening(given.port):
        parser.error(f"Port {given.port} is taken: choose another with --port.")
    if not Path(vscode_extension.stand_in_command()[1]).exists():
        parser.error("There is no VS Code in .venv: run `make vscode` first.")
    return serve(given.file.resolve(), given.port)


if __name__ == "__main__":
    sys.exit(main())
