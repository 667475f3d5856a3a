"""From what a user calls a model to the folder that holds it.

`engine.engine` and the command line call `resolve_model` before anything is loaded.
"""

from __future__ import annotations

from pathlib import Path

from engine.weights import store
from engine.weights.catalog import CATALOG, catalog_entry, find_entry
from engine.weights.checkpoint import PICKLE_SUFFIXES, refuse_pickle, refuse_special
from engine.weights.errors import WeightsError
from engine.weights.gguf_import import import_gguf
from engine.weights.hub_snapshot import HUB_ID, download_snapshot
from engine.weights.progress import Report, hash_file
from engine.weights.pull import pull


def resolve_model(spec: str, *, offline: bool, report: Report) -> Path:
    """Checkpoint folder for `spec`, fetched or imported first where that is needed.

    spec: a name of ``nemodiff models list``, a local folder, a local .gguf file (imported once,
    known again by its sha256), or a hub id ``owner/name[@revision]``. Raises WeightsError.
    """
    if not spec.strip():
        # As a path it would be the current folder.
        names = dict.fromkeys([entry.name for entry in CATALOG])
        names.update(dict.fromkeys(model.name for model in store.list_installed()))
        raise WeightsError(f"The model's name is empty; the known names are {', '.join(names)}.")
    if find_entry(spec) is not None:
        return pull(spec, offline=offline, report=report)
    path = Path(spec).expanduser()
    if path.is_dir():
        return _checkpoint_folder(path)
    refuse_special(path)
    if path.is_file():
        if path.suffix.lower() == ".gguf":
            return _imported(path, report)
        if path.suffix.lower() in PICKLE_SUFFIXES:
            raise WeightsError(refuse_pickle(path))
        raise WeightsError(f"{path} is not a model: give a checkpoint folder or a .gguf file.")
    if (installed := store.find(spec)) is not None:
        return installed.folder
    if path.is_absolute() or spec.startswith((".", "~")) or path.suffix.lower() == ".gguf":
        raise WeightsError(f"{path} does not exist.")
    if HUB_ID.match(spec):
        return _checkpoint_folder(download_snapshot(spec, offline=offline, report=report))
    return pull(catalog_entry(spec).name, offline=offline, report=report)


def _checkpoint_folder(folder: Path) -> Path:
    for name in ("config.json", "tokenizer.json"):
        refuse_special(folder / name)
    if not (folder / "config.json").is_file():
        raise WeightsError(f"{folder} is not a checkpoint folder: config.json is missing.")
    return folder


def _imported(path: Path, report: Report) -> Path:
    """The store's folder for a local .gguf file.

    A file of the same path, size and modification time as at its import is not hashed again.
    """
    facts = path.stat()
    mark = [str(path.resolve()), facts.st_size, facts.st_mtime_ns]
    for model in store.list_installed():
        if model.source.get("local_file") == mark:
            return model.folder
    sha256 = hash_file(path, report, f"Checking {path.name}")
    name = f"gguf-{sha256[:16]}"
    source = {
        "sha256": sha256,
        "num_bytes": facts.st_size,
        "file_name": path.name,
        "upstream": "local file",
        "title": path.stem,
        "licence": "unknown",
        "local_file": mark,
    }
    with store.locked(name, report):
        if (installed := store.find(name)) is not None:
            return installed.folder
        return store.install(
            name, lambda fresh: import_gguf(path, fresh, source=source, report=report)
        )
