"""The sandbox: what passes passes, nothing else does, and nothing gets out or stays behind.

Every case runs twice: with all that this machine permits, and with the audit hook alone.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from engine.evaluation import sandbox as sandbox_module
from engine.evaluation import sandbox_child
from engine.evaluation.sandbox import Outcome, Sandbox, SandboxError, SandboxLimits

CHILD = Path(sandbox_child.__file__)
HOOK_ONLY_COMMAND = (
    *(sys.executable, "-s", "-S", "-B", "-c"),
    f"import sys; sys.path.insert(0, {str(CHILD.parent)!r}); import sandbox_child; "
    "sandbox_child.enter_namespaces = lambda: False; sys.exit(sandbox_child.main())",
)
ROOMY = SandboxLimits(wall_s=60.0)

Make = Callable[[SandboxLimits], Sandbox]


@pytest.fixture(params=["permitted", "hook only"])
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a sandbox of the kind under test."""
    if request.param == "hook only":
        monkeypatch.setattr(sandbox_module, "_COMMAND", HOOK_ONLY_COMMAND)
    return Sandbox


@pytest.fixture
def run(make: Make) -> Callable[[str], Outcome]:
    return make(ROOMY).run


Run = Callable[[str], Outcome]

PASSING = {
    "nothing": "pass",
    "own folder": "open('a', 'w').write('x'); assert open('a').read() == 'x'",
    "dataclass": "import dataclasses\n@dataclasses.dataclass\nclass A:\n    x: int\nA(1)",
    "common modules": "import collections, hashlib, heapq, itertools, math, random, re, typing\n"
    "collections.namedtuple('A', 'b')\nhashlib.md5(b'a').hexdigest()",
    "much output": "print('x' * 10**7)",
    "no input": "import sys; assert sys.stdin.read() == ''",
    "long program": "x = 1\n" * 50_000,
    "recursion": "def f(n):\n    return n and f(n - 1)\nf(900)",
    "caught": "try:\n    raise SystemExit\nexcept SystemExit:\n    pass",
}


@pytest.mark.parametrize("case", PASSING)
def test_a_program_that_runs_to_its_end_passes(run: Run, case: str) -> None:
    assert run(PASSING[case]) == Outcome("passed")


FAKE_ANSWERS = """
import os
for fd in range(60):
    try:
        os.write(fd, b"passed\\n0 passed\\n" + b"0" * 32 + b" passed\\n")
    except OSError:
        pass
"""

FAILING = {
    "assertion": ("assert False", "AssertionError"),
    "syntax": ("def f(:", "SyntaxError"),
    "own exception": ("class Odd(Exception): pass\nraise Odd", "other"),
    "sys.exit(0)": ("import sys; sys.exit(0)", "SystemExit"),
    "exit()": ("exit()", "NameError"),
    "os._exit(0)": ("import os; os._exit(0)", "ended by exit"),
    "abort": ("import os; os.abort()", "ended by signal"),
    "prints passed": ("print('passed'); import os; os._exit(0)", "ended by exit"),
    "forged answers": (FAKE_ANSWERS + "os._exit(0)", "ended by exit"),
    "forged answers, raises": (FAKE_ANSWERS + "assert False", "AssertionError"),
    "closes the pipe": ("import os; os.closerange(0, 64)", "ended by exit"),
    "at exit": ("import atexit, os; atexit.register(os._exit, 0); assert False", "AssertionError"),
    "recursion": ("def f(): f()\nf()", "RecursionError"),
    "site-packages": ("import pytest", "ModuleNotFoundError"),
    "surrogate": ("x = '\ud800'", "UnicodeEncodeError"),
}


@pytest.mark.parametrize("case", FAILING)
def test_nothing_but_the_end_of_the_program_counts(run: Run, case: str) -> None:
    program, detail = FAILING[case]
    # What comes after an early end must not be needed for the verdict.
    assert run(program) == Outcome("failed", detail)


FORBIDDEN = {
    "socket": "import socket; socket.socket()",
    "socket pair": "import socket; socket.socketpair()",
    "system": "import os; os.system('true')",
    "subprocess": "import subprocess; subprocess.run(['true'])",
    "fork": "import os; os.fork()",
    "exec": "import os; os.execv('/bin/true', ['true'])",
    "spawn": "import os; os.posix_spawn('/bin/true', ['true'], {})",
    "kill": "import os; os.kill(os.getppid(), 0)",
    "native code": "import ctypes; ctypes.CDLL(None).getpid()",
    "remove": "import os; os.remove('/nowhere/at/all')",
    "rename": "import os; os.rename('/nowhere/a', '/nowhere/b')",
    "remove tree": "import shutil; shutil.rmtree('/nowhere/at/all')",
    "change folder": "import os; os.chdir('/')",
    "lift limits": "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))",
}


@pytest.mark.parametrize("case", FORBIDDEN)
def test_ways_out_are_shut(run: Run, case: str) -> None:
    assert run(FORBIDDEN[case]) == Outcome("failed", "PermissionError")


def test_a_program_cannot_go_on_behind_a_refusal(run: Run) -> None:
    program = "try:\n    import os; os.mkdir('a')\nexcept PermissionError:\n    pass\n"
    assert run(program + "assert not os.path.exists('a')") == Outcome("passed")


@pytest.mark.parametrize("opening", ["open({!r}, 'w')", "open({!r}, 'rb+')", "os.open({!r}, 1)"])
def test_files_elsewhere_are_not_written(run: Run, tmp_path: Path, opening: str) -> None:
    path = tmp_path / "precious"
    path.write_text("mine")
    outcome = run(f"import os\n{opening.format(str(path))}")
    assert outcome == Outcome("failed", "PermissionError")
    assert path.read_text() == "mine"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        listening.setblocking(False)
        yield listening


def test_no_connection_reaches_this_machine(run: Run, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    program = f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)"
    assert run(program).verdict == "failed"
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_namespaces_shut_the_network_without_the_hook(listener: socket.socket) -> None:
    """The kernel's own refusal, so that the hook is not the only thing in the way."""
    if Sandbox(ROOMY).isolation != sandbox_child.NAMESPACES:
        pytest.skip("this machine permits no user namespaces")
    program = (
        f"import sys; sys.path.insert(0, {str(CHILD.parent)!r})\n"
        "import errno, socket, sandbox_child\n"
        "assert sandbox_child.enter_namespaces()\n"
        "try:\n"
        f"    socket.create_connection(('127.0.0.1', {listener.getsockname()[1]}), 5)\n"
        "except OSError as error:\n"
        "    print(errno.errorcode[error.errno])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "ENETUNREACH\n"
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_wall_time_is_limited(make: Make) -> None:
    outcome = make(SandboxLimits(wall_s=2.0)).run("import time; time.sleep(600)")
    assert outcome == Outcome("timeout")


def test_processor_time_is_limited(make: Make) -> None:
    outcome = make(SandboxLimits(wall_s=300.0, cpu_s=1)).run("while True: pass")
    assert outcome == Outcome("timeout")


def test_a_program_cannot_wait_out_its_limit_by_catching_it(make: Make) -> None:
    program = (
        "import signal\n"
        "for number in (signal.SIGXCPU, signal.SIGTERM):\n"
        "    signal.signal(number, signal.SIG_IGN)\n"
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass\n"
    )
    assert make(SandboxLimits(wall_s=300.0, cpu_s=1)).run(program) == Outcome("timeout")


def test_memory_is_limited(make: Make) -> None:
    program = "x = bytearray(300 * 2**20)"
    assert make(ROOMY).run(program) == Outcome("passed")
    tight = SandboxLimits(wall_s=60.0, memory_bytes=200 * 2**20)
    assert make(tight).run(program) == Outcome("failed", "MemoryError")


def test_file_size_is_limited(make: Make) -> None:
    program = "with open('a', 'wb') as file: file.write(bytes(2**17))"
    assert make(ROOMY).run(program) == Outcome("passed")
    assert make(SandboxLimits(wall_s=60.0, file_bytes=2**16)).run(program).verdict == "failed"


def test_no_variable_of_the_environment_gets_in(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEMODIFF_CANARY", "secret")
    program = "import os; assert not {'NEMODIFF_CANARY', 'HOME', 'PATH'} & set(os.environ)"
    assert run(program) == Outcome("passed")


def test_each_program_has_an_empty_folder_that_goes_with_it(run: Run, tmp_path: Path) -> None:
    program = "import os; assert not os.listdir('.'); open('a', 'w').close()"
    assert run(program) == Outcome("passed")
    assert run(program) == Outcome("passed")
    # The folder's name is read out of a failing program through what it may do: a lookup.
    assert run("import os; assert 'nemodiff-sandbox-' in os.getcwd()") == Outcome("passed")


def test_the_order_of_sets_is_the_same_in_every_run(run: Run) -> None:
    names = [f"name {number}" for number in range(50)]
    first = subprocess.run(
        [sys.executable, "-c", f"print(list(set({names!r})))"],
        env={"PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert run(f"assert list(set({names!r})) == {first}") == Outcome("passed")


def test_all_processes_of_a_program_are_ended(make: Make, tmp_path: Path) -> None:
    """Seen from a pipe that the program reads: it breaks once the last reader is gone."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    own_end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(path, "wb", buffering=0) as writing:
        writing.write(b"x")
        program = f"file = open({str(path)!r}, 'rb'); file.read(1)\nimport time; time.sleep(600)"
        assert make(SandboxLimits(wall_s=3.0)).run(program) == Outcome("timeout")
        with pytest.raises(BlockingIOError):
            os.read(own_end, 1)  # the program has run and taken the byte
        os.close(own_end)
        poll = select.poll()
        poll.register(writing, 0)
        assert poll.poll(60_000) == [(writing.fileno(), select.POLLERR)]


def test_a_sandbox_that_does_not_work_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox = Sandbox(ROOMY)
    monkeypatch.setattr(sandbox_module, "_COMMAND", (sys.executable, "-c", "pass"))
    assert sandbox.run("pass").verdict == "error"
    with pytest.raises(SandboxError, match="does not work on this machine"):
        Sandbox(ROOMY)
