"""Gets a model of the catalogue onto this machine: hub, else mirror; sha256; import; clean-up.

Called by ``nemodiff models pull`` and by `engine.weights.resolve` for a name that is not installed.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from engine.weights import hub, mirror, store
from engine.weights.catalog import CatalogEntry, catalog_entry
from engine.weights.errors import WeightsError
from engine.weights.gguf_import import import_gguf
from engine.weights.progress import Report, hash_file

logger = logging.getLogger(__name__)

# The 4-bit file and its bf16 form, which takes up to 2.8 times as much, exist side by side.
_ROOM_FACTOR = 4.0


def pull(name: str, *, offline: bool, report: Report) -> Path:
    """Folder of catalogue model `name`, downloaded and imported unless it is installed already.

    Safe when several processes pull at once: one works, the others wait and find it done. Raises
    WeightsError for an unknown name, no network, a wrong sha256 or a full disk.
    """
    entry = catalog_entry(name)
    if (installed := store.find(name)) is not None:
        return installed.folder
    if offline:
        raise WeightsError(
            f"Model {name} is not installed and offline mode forbids downloading it; "
            f"run `nemodiff models pull {name}` once online."
        )
    with store.locked(name, report):
        if (installed := store.find(name)) is not None:
            return installed.folder
        partial = store.partial_folder(name)
        with store.writing():
            partial.mkdir(parents=True, exist_ok=True)
            _check_room(entry, partial)
            gguf_path, upstream = _fetch(entry, partial, report)
        source = {
            "sha256": entry.sha256,
            "num_bytes": entry.num_bytes,
            "file_name": entry.file_name,
            "upstream": f"{entry.hub_repository}@{entry.hub_revision}",
            "fetched_from": upstream,
            "title": entry.title,
            "licence": entry.licence,
        }
        folder = store.install(
            name, lambda fresh: import_gguf(gguf_path, fresh, source=source, report=report)
        )
        shutil.rmtree(partial, ignore_errors=True)
    logger.info("installed model %s in %s", name, folder)
    return folder


def _check_room(entry: CatalogEntry, partial: Path) -> None:
    used = sum(path.stat().st_size for path in partial.rglob("*") if path.is_file())
    needed = int(entry.num_bytes * _ROOM_FACTOR) - used
    free = shutil.disk_usage(partial).free
    if free < needed:
        raise WeightsError(
            f"Model {entry.name} needs {needed / 1e9:.1f} GB while it is installed, but only "
            f"{free / 1e9:.1f} GB are free at {partial}; free space there or set NEMODIFF_CACHE."
        )


def _fetch(entry: CatalogEntry, partial: Path, report: Report) -> tuple[Path, str]:
    """The checked GGUF file below `partial` and which source it came from."""
    joined = partial / entry.file_name
    if joined.exists() and _accept(entry, joined, report) is None:
        return joined, "registry"
    problems: list[str] = []
    for upstream, download in (("hub", _from_hub), ("registry", mirror.download_file)):
        try:
            return download(entry, joined.parent, report), upstream
        except WeightsError as error:
            logger.warning("%s: %s", entry.name, error)
            problems.append(str(error))
    raise WeightsError(f"Model {entry.name} could not be downloaded: {'; '.join(problems)}.")


def _from_hub(entry: CatalogEntry, folder: Path, report: Report) -> Path:
    path = hub.download_file(entry, folder / "hub", report)
    if (problem := _accept(entry, path, report)) is not None:
        raise WeightsError(problem)
    return path


def _accept(entry: CatalogEntry, path: Path, report: Report) -> str | None:
    """None when `path` is the catalogue's file; else it is deleted and the reason returned."""
    sha256 = hash_file(path, report, "Checking the download")
    if sha256 == entry.sha256:
        return None
    path.unlink()
    return (
        f"{path.name} has sha256 {sha256[:12]}… instead of {entry.sha256[:12]}… "
        "and has been deleted"
    )
