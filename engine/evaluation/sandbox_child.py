"""The inside of the sandbox: runs one untrusted program and tells how it ended.

Run by `sandbox.py` as a script of its own, with ``python -P -s -S -B``: standard library only,
nothing of this project may be imported. Reads one JSON job from stdin:

    {"verdict_fd", "nonce", "program", "cpu_s", "memory_bytes", "file_bytes"}

and writes lines to the pipe `verdict_fd`, each opened by the nonce, which the program is not told:

    NONCE ready ISOLATION      the limits stand, the program starts
    NONCE passed               the program ran to its end without an exception
    NONCE raised NAME          it ended with an exception (sys.exit() raises one, too)
    NONCE ended cpu|signal|exit    the process is gone without having said either

The outer process forks the inner one, which runs the program, and waits for its end. Network,
processes and signals are cut off by Linux namespaces where the system permits, and by an audit
hook (PEP 578) everywhere. The hook stops accidents and mischief of generated code, not an
attacker of the interpreter itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
import types
from typing import Any

_CLONE_NEWIPC = 0x08000000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWPID = 0x20000000
_CLONE_NEWNET = 0x40000000

NAMESPACES = "namespaces and audit hook"
HOOK_ONLY = "audit hook"

# Everything in these families is refused, except what only reads or stays in the process.
_REFUSED = (
    "os.",
    "socket.",
    "subprocess.",
    "ctypes.",
    "shutil.",
    "pty.",
    "fcntl.",
    "resource.",
    "signal.",
    "syslog.",
    "sqlite3.",
    "gc.",
)
_HARMLESS = frozenset(
    ("os.listdir", "os.scandir", "os.walk", "os.fwalk", "os.putenv", "os.unsetenv")
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_NAME_OF_PROGRAM = "solution"


def enter_namespaces() -> bool:
    """Leave the system's network, processes and shared memory; False where that is not allowed.

    Without a mapping in the new user namespace even root keeps no privilege outside of it.
    """
    if not sys.platform.startswith("linux"):
        return False
    flags = _CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWPID | _CLONE_NEWIPC
    unshare = getattr(os, "unshare", None)  # from Python 3.12 on
    try:
        if unshare is not None:
            unshare(flags)
            return True
        import ctypes

        return int(ctypes.CDLL(None, use_errno=True).unshare(flags)) == 0
    except (OSError, AttributeError, ImportError):
        return False


def limit_resources(job: dict[str, Any]) -> None:
    """Set this process's limits; a limit that the system does not know is left out."""
    cpu_s = int(job["cpu_s"])
    limits = {
        # The hard limit ends even a process that ignores the signal of the soft one.
        "RLIMIT_CPU": (cpu_s, cpu_s + 1),
        "RLIMIT_AS": (job["memory_bytes"], job["memory_bytes"]),
        "RLIMIT_FSIZE": (job["file_bytes"], job["file_bytes"]),
        "RLIMIT_CORE": (0, 0),
        "RLIMIT_NOFILE": (64, 64),
        # No further processes or threads (root is exempt, hence the hook as well).
        "RLIMIT_NPROC": (0, 0),
    }
    for name, pair in limits.items():
        with contextlib.suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, name), pair)


def install_hook(folder: str) -> None:
    """Refuse network, processes, signals, and any change of files outside `folder`."""
    inside = os.path.join(os.path.realpath(folder), "")
    realpath, fspath, fsdecode = os.path.realpath, os.fspath, os.fsdecode

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = args
            if not flags & _WRITING or path == os.devnull:
                return
            if not realpath(fsdecode(fspath(path))).startswith(inside):
                raise PermissionError("a sandboxed program writes in its own folder only")
        elif event.startswith(_REFUSED) and event not in _HARMLESS:
            raise PermissionError(f"{event} is not allowed in the sandbox")

    sys.addaudithook(hook)


def run_program(source: str) -> str:
    """Run `source` as a module; "passed", or "raised" and the exception's class."""
    module = types.ModuleType(_NAME_OF_PROGRAM)
    # dataclasses and others look their module up by its name.
    sys.modules[_NAME_OF_PROGRAM] = module
    try:
        exec(compile(source, "solution.py", "exec", dont_inherit=True), module.__dict__)
    except BaseException as error:
        kind = type(error)
        return f"raised {kind.__name__ if kind.__module__ == 'builtins' else 'other'}"
    return "passed"


def run_inner(job: dict[str, Any], isolation: str) -> None:
    """The process that runs the program; does not return."""
    verdict_fd, nonce = job["verdict_fd"], job["nonce"]
    write, leave = os.write, os._exit
    # The program may leave memory, recursion or builtins in any state, so no formatting later.
    answers = {"passed": f"{nonce} passed\n".encode()}
    limit_resources(job)
    write(verdict_fd, f"{nonce} ready {isolation}\n".encode())
    install_hook(os.getcwd())
    said = run_program(job["program"])
    write(verdict_fd, answers.get(said) or f"{nonce} {said}\n".encode())
    leave(0)


def how_it_ended(status: int, cpu_s: float) -> str:
    """The word for a wait status; cpu_s: the limit on processor time."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    if os.WIFSIGNALED(status):
        # The system counts in ticks and may end a process a little before the accounts say so.
        is_cpu = os.WTERMSIG(status) == signal.SIGXCPU
        return "cpu" if is_cpu or used.ru_utime + used.ru_stime >= cpu_s else "signal"
    return "exit"


def main() -> int:
    with open(0, encoding="utf-8") as stdin:
        job = json.load(stdin)
    # Descriptor 0 is taken again: otherwise the program's first open() would become its stdin.
    os.open(os.devnull, os.O_RDONLY)
    isolation = NAMESPACES if enter_namespaces() else HOOK_ONLY
    inner = os.fork()
    if inner == 0:
        run_inner(job, isolation)
    _, status = os.waitpid(inner, 0)
    os.write(
        job["verdict_fd"], f"{job['nonce']} ended {how_it_ended(status, job['cpu_s'])}\n".encode()
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
