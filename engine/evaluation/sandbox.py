"""Sandbox: runs an untrusted program in a subprocess and says whether it passed its own tests.

Used for generated and canonical solutions alike. What happens inside is `sandbox_child.py`.
"""

from __future__ import annotations

import json
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal

from engine.errors import EngineError

Verdict = Literal["passed", "failed", "timeout", "error"]

_CHILD = Path(__file__).with_name("sandbox_child.py")
# -P -s with an environment of our own is what -I does, except that it lets the hash seed through:
# the order of sets must not decide a verdict. -S leaves out site-packages: standard library only.
_COMMAND = (sys.executable, "-P", "-s", "-S", "-B", str(_CHILD))
_ENVIRONMENT = {"PYTHONHASHSEED": "0"}
_MAX_ANSWER_BYTES = 2**16


class SandboxError(EngineError):
    """This machine cannot run sandboxed programs; one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxLimits:
    """wall_s counts from the start of the interpreter; file_bytes limits each file written."""

    wall_s: float = 10.0
    cpu_s: int = 10
    memory_bytes: int = 2**30
    file_bytes: int = 2**20

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended.

    passed: it ran to its end, told over a pipe of the harness under a number drawn for this run;
    no exit code and nothing that a program prints counts. failed: it raised, or ended early.
    timeout: it used up its wall or processor time. error: the sandbox itself did not work.
    detail: the exception's class or the way it ended, in a word; never the program's text.
    """

    verdict: Verdict
    detail: str = ""


class Sandbox:
    """Runs programs one at a time per call; calls may come from several threads.

    isolation says what keeps a program from the network on this machine. Raises SandboxError when
    a program that does nothing does not pass.
    """

    def __init__(self, limits: SandboxLimits | None = None) -> None:
        self.limits = limits or SandboxLimits()
        if sys.platform == "win32":
            raise SandboxError("Generated programs can only be run on Linux or macOS.")
        messages = self._run("pass\n")
        if "passed" not in messages:
            raise SandboxError(
                "The sandbox for generated programs does not work on this machine "
                f"(a program that does nothing ended with {sorted(messages) or 'no answer'})."
            )
        self.isolation = messages["ready"]

    def run(self, program: str) -> Outcome:
        """Run `program` and wait for its end, or end it together with all its processes."""
        messages = self._run(program)
        if "passed" in messages:
            return Outcome("passed")
        if "raised" in messages:
            return Outcome("failed", messages["raised"])
        if "timeout" in messages or messages.get("ended") == "cpu":
            return Outcome("timeout")
        if "ready" not in messages:
            return Outcome("error", "the sandbox did not start")
        return Outcome("failed", f"ended by {messages.get('ended', 'itself')}")

    def _run(self, program: str) -> dict[str, str]:
        """What the child said, as word -> rest of the line; and "timeout" if time ran out."""
        nonce = secrets.token_hex(16)
        read_fd, write_fd = os.pipe()
        with (
            os.fdopen(read_fd, "rb", buffering=0) as answers,
            tempfile.TemporaryDirectory(prefix="nemodiff-sandbox-") as folder,
        ):
            try:
                job = {"verdict_fd": write_fd, "nonce": nonce, "program": program}
                process = _start({**job, **self.limits.to_json()}, folder, write_fd)
            finally:
                os.close(write_fd)
            try:
                return _listen(answers, nonce, time.monotonic() + self.limits.wall_s)
            finally:
                # Before the child is waited for: until then its number cannot be anyone else's.
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _start(job: Mapping[str, Any], folder: str, write_fd: int) -> subprocess.Popen[bytes]:
    # A file without a name rather than a pipe: nobody has to feed it, however long the program.
    with tempfile.TemporaryFile() as stdin:
        stdin.write(json.dumps(job).encode("ascii"))
        stdin.seek(0)
        return subprocess.Popen(
            _COMMAND,
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(write_fd,),
            cwd=folder,
            env=_ENVIRONMENT,
            start_new_session=True,
        )


def _listen(answers: IO[bytes], nonce: str, until_s: float) -> dict[str, str]:
    """Read until the child has said the last word or `until_s` (of `time.monotonic`) passes."""
    received = b""
    while True:
        messages = _messages(received, nonce)
        if messages.keys() & {"passed", "raised", "ended"}:
            return messages
        left_s = until_s - time.monotonic()
        ready, _, _ = select.select([answers], [], [], max(0.0, left_s))
        if not ready:
            return {**messages, "timeout": ""}
        chunk = answers.read(4096)
        # The descriptor is open in the program, too, so that it could write without end.
        if not chunk or len(received) > _MAX_ANSWER_BYTES:
            return messages
        received += chunk


def _messages(received: bytes, nonce: str) -> dict[str, str]:
    messages: dict[str, str] = {}
    for line in received.decode("utf-8", "replace").split("\n")[:-1]:
        opening, _, message = line.partition(" ")
        if opening == nonce:
            word, _, rest = message.partition(" ")
            messages[word] = rest
    return messages
