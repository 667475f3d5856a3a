"""A whole checkpoint from the hub, by ``owner/name[@revision]``: resumable, checked, offline.

Called by `engine.weights.resolve`. huggingface_hub starts a broken-off file anew, so the files
lie in a cache of our own (`engine.weights.hub_cache`); a whole copy in the library's is used too.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
import huggingface_hub.utils

from engine.models.config import ConfigError, read_model_config
from engine.weights import store
from engine.weights.errors import WeightsError
from engine.weights.hub import RemoteFile, TransferError, download_rest, is_offline, reason
from engine.weights.hub_cache import COMMIT, HubCache, HubFile
from engine.weights.hub_listing import SNAPSHOT_PATTERNS, Listing, ask_hub, failure
from engine.weights.progress import Report, hash_file

logger = logging.getLogger(__name__)

HUB_ID = re.compile(r"^(?P<repository>[\w-][\w.-]*/[\w-][\w.-]*)(?:@(?P<revision>[\w./-]+))?$")
"""``owner/name`` with an optional ``@revision`` (branch, tag or commit)."""

_MAIN = "main"
# Two documented functions of it are not declared as exported to type checkers.
_library: Any = huggingface_hub.utils


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the user asked for: `spec` as typed, its parts, and where to report."""

    spec: str
    repository: str
    revision: str
    report: Report

    @property
    def cache(self) -> HubCache:
        return HubCache(self.repository)

    def local_copy(self) -> Path | None:
        return self.cache.find(self.revision) or library_copy(self.repository, self.revision)


def download_snapshot(spec: str, *, offline: bool, report: Report) -> Path:
    """Folder of the hub repository `spec` (``owner/name[@revision]``), fetched where needed.

    Only what `SNAPSHOT_PATTERNS` names is fetched, smallest file first. An interrupted download
    goes on where it stopped, in this process or a later one; size and, where the hub tells it,
    sha256 are checked before a file gets its name. A whole copy of a commit given in full is used
    without asking the hub, that of a branch when the hub cannot be asked. Raises WeightsError.
    """
    wanted = _parsed(spec, report)
    if COMMIT.fullmatch(wanted.revision) and (copy := wanted.cache.find(wanted.revision)):
        return copy
    if offline or is_offline():
        if (copy := wanted.local_copy()) is not None:
            return copy
        raise WeightsError(
            f"{spec} is neither a local path nor in the hub's local cache, and offline mode "
            "forbids downloading it; run once online."
        )
    report(f"Asking the hub for {spec}", None)
    try:
        listing = ask_hub(wanted.repository, wanted.revision)
    except TransferError as error:
        if (copy := wanted.local_copy()) is None:
            raise WeightsError(
                f"{spec} is neither a local path nor in the hub's local cache, and the hub cannot "
                f"be reached ({reason(error)})."
            ) from None
        logger.warning("the hub cannot be asked (%s); using the copy in %s", reason(error), copy)
        return copy
    return _at_commit(wanted, listing)


def _parsed(spec: str, report: Report) -> _Wanted:
    match = HUB_ID.match(spec)
    try:
        if match is None:
            raise ValueError
        _library.validate_repo_id(match["repository"])
    except ValueError:
        raise WeightsError(
            f"{spec!r} is no hub id; write it as owner/name or owner/name@revision."
        ) from None
    return _Wanted(spec, match["repository"], match["revision"] or _MAIN, report)


def library_copy(repository: str, revision: str) -> Path | None:
    """A whole copy of the checkpoint in huggingface_hub's own cache, or None."""
    try:
        found = huggingface_hub.snapshot_download(
            repository,
            revision=revision,
            allow_patterns=list(SNAPSHOT_PATTERNS),
            local_files_only=True,
        )
    except (OSError, ValueError):  # absent, or known to be incomplete
        return None
    # Older versions of the library also return what an interrupted download left behind.
    folder = Path(found)
    names = {path.name for path in folder.glob("*") if path.exists()}
    whole = "config.json" in names and any(name.endswith(".safetensors") for name in names)
    for index in folder.glob("*.safetensors.index.json"):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            shards = re.findall(r'"([^"]+\.safetensors)"', index.read_text(encoding="utf-8"))
            whole = whole and names.issuperset(shards)
    return folder if whole else None


def _at_commit(wanted: _Wanted, listing: Listing) -> Path:
    """The folder of `listing`, after fetching what it lacks; one process at a time does that."""
    cache, commit, files = wanted.cache, listing.commit, listing.files
    if cache.commit_of(wanted.revision) == commit and (copy := cache.find(commit)) is not None:
        return copy
    copy = library_copy(wanted.repository, commit)
    if copy is not None and all(file.is_at(copy) for file in files):
        return copy
    with store.locked(cache.lock_name, wanted.report), store.writing():
        cache.write_listing(commit, files)
        folder = cache.commit_folder(commit)
        missing = [
            file for file in files if not (file.is_at(folder) or _link(file, wanted, commit))
        ]
        _check_room(wanted, commit, missing)
        _fetch(wanted, commit, missing, sum(file.num_bytes for file in files))
        cache.remember(wanted.revision, commit)
    logger.info("%s is in %s", wanted.spec, folder)
    return folder


def _link(file: HubFile, wanted: _Wanted, commit: str) -> bool:
    """Whether `file` could be had from another commit that holds the same content."""
    twin = wanted.cache.twin(file)
    if twin is None:
        return False
    target = wanted.cache.commit_folder(commit) / file.name
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.unlink(missing_ok=True)
        os.link(twin, target)
    except OSError:  # a file system without hard links: fetch it again
        return False
    return True


def _check_room(wanted: _Wanted, commit: str, missing: Sequence[HubFile]) -> None:
    folder = wanted.cache.folder
    partial = [wanted.cache.incomplete(commit, file) for file in missing]
    num_bytes_here = sum(path.stat().st_size for path in partial if path.exists())
    needed = sum(file.num_bytes for file in missing) - num_bytes_here
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise WeightsError(
            f"{wanted.spec} needs {needed / 1e9:.1f} GB more, but only {free / 1e9:.1f} GB are "
            f"free at {folder}; free space there or set NEMODIFF_CACHE to another folder."
        )


def _fetch(wanted: _Wanted, commit: str, missing: Sequence[HubFile], num_bytes_total: int) -> None:
    """Fetch `missing`, smallest first, so that a config that cannot be used ends it early."""
    folder = wanted.cache.commit_folder(commit)
    done = num_bytes_total - sum(file.num_bytes for file in missing)
    is_config_checked = False

    def on_size(size: int) -> None:
        fraction = min(1.0, (done + size) / max(1, num_bytes_total))
        wanted.report(f"Downloading {wanted.spec}", fraction)

    # By kind first: some tiny adapter may be smaller than config.json.
    for file in sorted(missing, key=lambda file: (_is_weights(file), file.num_bytes, file.name)):
        if _is_weights(file) and not is_config_checked:
            _check_config(wanted, folder)
            is_config_checked = True
        partial = wanted.cache.incomplete(commit, file)
        partial.parent.mkdir(parents=True, exist_ok=True)
        _download(wanted, commit, file, partial, on_size)
        _check(wanted, file, partial)
        target = folder / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(partial, target)
        done += file.num_bytes


def _is_weights(file: HubFile) -> bool:
    return file.name.endswith(".safetensors")


def _check_config(wanted: _Wanted, folder: Path) -> None:
    """Raises WeightsError for a model that this engine cannot run, before gigabytes are fetched."""
    try:
        read_model_config(folder / "config.json")
    except ConfigError as error:
        raise WeightsError(f"{wanted.spec} cannot be used: {error}") from None


def _download(
    wanted: _Wanted, commit: str, file: HubFile, partial: Path, on_size: Callable[[int], None]
) -> None:
    """Complete `partial`. The token goes along as with the library: gated files ask for it."""
    headers: dict[str, str] = _library.build_hf_headers()
    headers["Accept-Encoding"] = "identity"  # a range of compressed bytes would be of no use
    remote = RemoteFile(
        repository=wanted.repository,
        revision=commit,
        name=file.name,
        num_bytes=file.num_bytes,
        url=huggingface_hub.hf_hub_url(wanted.repository, file.name, revision=commit),
        headers=headers,
    )
    try:
        download_rest(remote, partial, on_size)
    except TransferError as error:
        cause = error.__cause__
        if isinstance(cause, Exception):
            refusal = failure(cause, wanted.repository, wanted.revision)
            if isinstance(refusal, WeightsError):
                raise refusal from None
        raise WeightsError(
            f"The download of {wanted.spec} broke off ({reason(error)}); "
            "run the command again and it goes on where it stopped."
        ) from None


def _check(wanted: _Wanted, file: HubFile, partial: Path) -> None:
    """Raises WeightsError and deletes `partial` when it is not `file`."""
    found, right = f"{partial.stat().st_size} bytes", f"{file.num_bytes}"
    is_right = partial.stat().st_size == file.num_bytes
    if is_right and file.sha256 is not None:
        sha256 = hash_file(partial, wanted.report, f"Checking {file.name}")
        found, right = f"sha256 {sha256[:12]}…", f"{file.sha256[:12]}…"
        is_right = sha256 == file.sha256
    if not is_right:
        partial.unlink()
        raise WeightsError(
            f"{file.name} of {wanted.spec} came with {found} instead of {right} "
            "and has been deleted; run the command again."
        )
