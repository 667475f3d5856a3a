"""The cache folder: installed models, half-finished downloads and the locks that guard both.

Layout: ``models/<name>/`` (config.json, model.safetensors, tokenizer.json, import.json),
``partial/<name>/`` and ``locks/<name>.lock``. A model folder appears by one rename, whole or not
at all, and import.json remembers the sha256 of each file in it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from engine.weights.errors import WeightsError
from engine.weights.progress import Report, hash_file, silent

logger = logging.getLogger(__name__)

IMPORT_FILE = "import.json"
FORM_VERSION = 1
"""Raised when the importer writes something that older folders lack; those are imported anew."""

# A plain name: "", ".." or a path would reach outside the models' own folder.
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")


@dataclass(frozen=True, slots=True)
class InstalledModel:
    """One model of the store. files: name -> (sha256, size in bytes), as written at import."""

    name: str
    folder: Path
    source: dict[str, Any]
    files: dict[str, tuple[str, int]]

    @property
    def num_bytes(self) -> int:
        return sum(num_bytes for _, num_bytes in self.files.values())


def cache_folder() -> Path:
    """Where NemoDiff keeps models: $NEMODIFF_CACHE, else the user's cache folder."""
    own = os.environ.get("NEMODIFF_CACHE")
    return Path(own).expanduser() if own else user_cache_path("nemodiff")


def models_folder() -> Path:
    return cache_folder() / "models"


def partial_folder(name: str) -> Path:
    """Where a download of `name` keeps its pieces between attempts."""
    return cache_folder() / "partial" / name


def find(name: str) -> InstalledModel | None:
    """The installed model `name`, or None when it is absent or of another form version."""
    if not _NAME.match(name):
        return None
    folder = models_folder() / name
    try:
        note = json.loads((folder / IMPORT_FILE).read_text(encoding="utf-8"))
        if note["form"] != FORM_VERSION:
            return None
        files = {
            file: (str(facts["sha256"]), int(facts["num_bytes"]))
            for file, facts in note["files"].items()
        }
        return InstalledModel(name, folder, dict(note["source"]), files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def is_whole(model: InstalledModel) -> bool:
    """Whether every file of `model` is there with the size it was written with; hashes nothing."""
    try:
        return all(
            (model.folder / name).stat().st_size == num_bytes
            for name, (_, num_bytes) in model.files.items()
        )
    except OSError:
        return False


def list_unusable() -> list[Path]:
    """Folders in the place of models that `find` does not take for one, by name."""
    try:
        folders = sorted(path for path in models_folder().iterdir() if path.is_dir())
    except OSError:
        return []
    # A leading dot marks an import that is under way or was killed; `install` sweeps those.
    return [path for path in folders if path.name[0] != "." and find(path.name) is None]


def list_installed() -> list[InstalledModel]:
    """Every installed model, by name."""
    try:
        names = sorted(path.name for path in models_folder().iterdir() if path.is_dir())
    except OSError:
        return []
    return [model for name in names if (model := find(name))]


def verify(model: InstalledModel, report: Report = silent) -> None:
    """Hash every file of `model` again; raises WeightsError naming the first that changed."""
    for name, (sha256, num_bytes) in model.files.items():
        path = model.folder / name
        advice = f"run `nemodiff models remove {model.name}` and pull it again"
        try:
            if path.stat().st_size != num_bytes:
                raise WeightsError(f"{path} has not the size it was written with; {advice}.")
            if hash_file(path, report, f"Checking {name}") != sha256:
                raise WeightsError(f"{path} has changed since it was written; {advice}.")
        except OSError as error:
            raise WeightsError(f"{path} cannot be read ({error.strerror}); {advice}.") from None


def remove(name: str) -> Path:
    """Delete model `name` and any half-finished download of it; returns the folder it had.

    Raises WeightsError when there is nothing to delete.
    """
    folder = models_folder() / name
    if not _NAME.match(name) or not (folder.is_dir() or partial_folder(name).is_dir()):
        known = ", ".join(model.name for model in list_installed()) or "none"
        raise WeightsError(f"There is no installed model {name!r} (installed: {known}).")
    with locked(name), writing():
        shutil.rmtree(partial_folder(name), ignore_errors=True)
        if folder.is_dir():
            _discard(folder)
    return folder


@contextlib.contextmanager
def locked(name: str, report: Report = silent) -> Iterator[None]:
    """Hold the lock of model `name` against other processes, waiting for it if need be."""
    path = cache_folder() / "locks" / f"{name}.lock"
    with writing():
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.info("another process works on model %s; waiting for it", name)
            report(f"Waiting for another process that works on {name}", None)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def install(name: str, build: Callable[[Path], None]) -> Path:
    """Let `build` fill a new folder and make it model `name` by one rename; returns the folder.

    The caller holds `locked(name)`. When `build` raises, nothing of it is left behind.
    """
    folder = models_folder() / name
    with writing():
        models_folder().mkdir(parents=True, exist_ok=True)
        for stale in models_folder().glob(f".{name}-*"):  # left by a process that was killed
            shutil.rmtree(stale, ignore_errors=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=models_folder()))
        try:
            build(fresh)
            fresh.chmod(0o755)
            if folder.exists():
                _discard(folder)
            fresh.rename(folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return folder


def _discard(folder: Path) -> None:
    """Delete `folder` so that no reader ever sees half of it."""
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    folder.rename(aside / "old")
    shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Turns a full disk or missing rights inside the block into one WeightsError."""
    try:
        yield
    except OSError as error:
        raise WeightsError(
            f"The cache folder {cache_folder()} cannot be written ({error.strerror or error}); "
            "free space there or set NEMODIFF_CACHE to another folder."
        ) from None
