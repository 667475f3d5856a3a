"""`nemodiff doctor`: what of this installation works, what does not, and what to do about it.

Registered by `main.py`. Changes nothing on the machine and needs no network.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import stat
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from engine.config import DEFAULT_MODEL
from engine.errors import EngineError

Status = Literal["OK", "WARN", "FAIL"]

_MIN_PYTHON = (3, 11)
_MIN_FREE_DISK_BYTES = 3 * 10**9
_MIN_FREE_MEMORY_BYTES = 2 * 10**9
_STYLES = {"OK": "green", "WARN": "yellow", "FAIL": "bold red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. advice: what to do, empty when there is nothing to do."""

    name: str
    status: Status
    detail: str
    advice: str = ""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `doctor`."""
    parser = commands.add_parser("doctor", help="check this installation and say what to do")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--model", metavar="NAME", default=DEFAULT_MODEL, help="model to look for")
    parser.add_argument(
        "--engine-socket", metavar="PATH", help="engine to look for (default: the user's own)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print all findings; exit code 1 when anything fails."""
    findings = examine(args.model, args.engine_socket)
    has_failed = any(finding.status == "FAIL" for finding in findings)
    if args.json:
        print(json.dumps({"ok": not has_failed, "checks": [asdict(item) for item in findings]}))
    else:
        _show(findings)
    return 1 if has_failed else 0


def examine(model: str, engine_socket: str | None) -> list[Finding]:
    """All findings, in the order in which they build on each other."""
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("python", _check_python),
        ("torch", _check_torch),
        ("device", _check_device),
        ("memory", _check_memory),
        ("cache", _check_cache),
        ("model", lambda: _check_model(model)),
        ("socket", lambda: _check_socket(engine_socket)),
        ("engine", lambda: _check_engine(engine_socket)),
        ("language server", _check_language_server),
    ]
    findings = []
    for name, check in checks:
        try:
            findings.append(check())
        except EngineError as error:
            findings.append(Finding(name, "FAIL", str(error)))
        except Exception as error:
            # A broken installation breaks in ways that no list foresees; report the other checks.
            first_line = (str(error).splitlines() or [""])[0]
            detail = f"The check itself failed ({type(error).__name__}: {first_line})."
            findings.append(Finding(name, "FAIL", detail, "Reinstall NemoDiff."))
    return findings


def _show(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, markup=False, emoji=False)
    for finding in findings:
        line = Text.assemble(
            (f"{finding.status:<4}", _STYLES[finding.status]), f"  {finding.name}: {finding.detail}"
        )
        console.print(line, soft_wrap=True)
        if finding.advice:
            console.print(Text(f"      {finding.advice}"), soft_wrap=True)


def _check_python() -> Finding:
    version = f"{platform.python_implementation()} {platform.python_version()}"
    if sys.version_info < _MIN_PYTHON:
        needed = ".".join(map(str, _MIN_PYTHON))
        return Finding("python", "FAIL", version, f"Install Python {needed} or later.")
    return Finding("python", "OK", version)


def _check_torch() -> Finding:
    try:
        import torch
    except ImportError as error:
        return Finding("torch", "FAIL", f"It cannot be imported ({error}).", "Reinstall NemoDiff.")
    cuda = torch.version.cuda
    build = f"CUDA {cuda} build" if cuda else "CPU build"
    return Finding("torch", "OK", f"{torch.__version__} ({build})")


def _check_device() -> Finding:
    from engine.device import choose_device

    choice = choose_device("auto", "auto", None)
    is_unused_gpu = choice.device.type == "cpu" and Path("/proc/driver/nvidia/version").exists()
    advice = "The GPU is not used: check its driver and torch's build." if is_unused_gpu else ""
    return Finding("device", "WARN" if is_unused_gpu else "OK", choice.reason, advice)


def _check_memory() -> Finding:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            facts = dict(line.split(":", 1) for line in file)
        # Counts what the system can free at need, too.
        num_bytes = int(facts["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError):
        return Finding("memory", "OK", "This system does not tell how much is free.")
    detail = f"{_size(num_bytes)} free"
    if num_bytes < _MIN_FREE_MEMORY_BYTES:
        advice = f"The default model needs about {_size(_MIN_FREE_MEMORY_BYTES)}: close something."
        return Finding("memory", "WARN", detail, advice)
    return Finding("memory", "OK", detail)


def _check_cache() -> Finding:
    from engine.weights import store

    folder = store.cache_folder()
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        advice = "Make it writable, or set NEMODIFF_CACHE to another folder."
        return Finding("cache", "FAIL", f"{folder} cannot be written.", advice)
    num_bytes = shutil.disk_usage(existing).free
    detail = f"{folder}, {_size(num_bytes)} free on its disk"
    if num_bytes < _MIN_FREE_DISK_BYTES:
        advice = "Free some space, or set NEMODIFF_CACHE to a folder on another disk."
        return Finding("cache", "WARN", detail, advice)
    return Finding("cache", "OK", detail)


def _check_model(name: str) -> Finding:
    from engine.weights import store
    from engine.weights.catalog import catalog_entry

    if not name.strip():
        catalog_entry(name)  # refuses it and tells the names
    if Path(name).exists():
        return Finding("model", "OK", f"{name} is a local file or folder")
    model = store.find(name)
    if model is None:
        advice = f"Run `nemodiff models pull {name}` (the first completion does so, too)."
        return Finding("model", "WARN", f"{name} is not in the cache.", advice)
    for file, (_, num_bytes) in model.files.items():
        path = model.folder / file
        if not path.is_file() or path.stat().st_size != num_bytes:
            advice = f"Run `nemodiff models remove {name}` and `nemodiff models pull {name}`."
            return Finding("model", "FAIL", f"{path} is missing or cut short.", advice)
    return Finding("model", "OK", f"{name}, {_size(model.num_bytes)} in {model.folder}")


def _check_socket(given: str | None) -> Finding:
    from engine.messages.address import EngineAddress, ensure_private_folder, runtime_path

    if given is None:
        folder = runtime_path()
        if folder.exists():
            ensure_private_folder(folder)
        elif not os.access(
            next(path for path in folder.parents if path.exists()), os.W_OK | os.X_OK
        ):
            advice = "Set NEMODIFF_RUNTIME_DIR to a folder of your own."
            return Finding("socket", "FAIL", f"The folder {folder} cannot be made.", advice)
        address = EngineAddress(socket=folder / "engine.sock")
    else:
        address = EngineAddress.parse(given)
    path = address.socket
    if path is None:
        return Finding("socket", "OK", f"{address} (no socket file)")
    if not path.exists():
        return Finding("socket", "OK", f"{path} (made when an engine starts)")
    mode = path.stat().st_mode
    if not stat.S_ISSOCK(mode):
        return Finding("socket", "FAIL", f"{path} is not a socket.", "Remove that file.")
    detail = f"{path}, mode {stat.S_IMODE(mode):04o} in a folder of mode "
    detail += f"{stat.S_IMODE(path.parent.stat().st_mode):04o}"
    if path.parent.stat().st_mode & 0o077 and mode & 0o077:
        advice = f"Other users can reach the engine: run `chmod 700 {path.parent}`."
        return Finding("socket", "WARN", detail, advice)
    return Finding("socket", "OK", detail)


def _check_engine(given: str | None) -> Finding:
    from engine.messages.address import EngineAddress, runtime_path
    from engine.messages.client import EngineClient, EngineUnavailable, NoEngineError

    address = (
        EngineAddress.parse(given)
        if given
        else EngineAddress(socket=runtime_path() / "engine.sock")
    )
    try:
        with EngineClient(address) as client:
            health = client.health()
    except NoEngineError:
        return Finding("engine", "OK", "None runs; the language server starts one when needed.")
    except EngineUnavailable as error:
        advice = "Stop it with `nemodiff engine stop`."
        return Finding("engine", "FAIL", str(error), advice)
    names = ", ".join(str(name) for name in health.get("model_names", []))
    state = str(health.get("state"))
    if state == "failed":
        advice = "Mend that, then run `nemodiff engine stop`."
        return Finding("engine", "FAIL", str(health.get("failure")), advice)
    return Finding("engine", "OK", f"process {health.get('pid')}, {state}, model {names}")


def _check_language_server() -> Finding:
    try:
        version = importlib.metadata.version("pygls")
    except importlib.metadata.PackageNotFoundError:
        advice = "Editors need it: reinstall NemoDiff."
        return Finding("language server", "WARN", "pygls is not installed.", advice)
    return Finding("language server", "OK", f"pygls {version}; editors run `nemodiff lsp`")


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB"
