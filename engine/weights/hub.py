"""One file from the publisher's model hub, through `huggingface_hub`: resumable, with progress.

Used by `engine.weights.pull` (the GGUF file of a catalogue entry) and by
`engine.weights.hub_snapshot` (each file of a checkpoint).
"""

from __future__ import annotations

import inspect
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO

import huggingface_hub
from huggingface_hub import file_download
from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

from engine.weights import store
from engine.weights.catalog import CatalogEntry
from engine.weights.errors import WeightsError
from engine.weights.progress import Report

logger = logging.getLogger(__name__)

PROBE_TIMEOUT_S = 5.0

# The library's public functions start every file anew; its streaming function does not, but is
# no public interface, so it may go away or change.
http_get: Any = getattr(file_download, "http_get", None)
_LIBRARY_BAR = "huggingface_hub.http_get"


class TransferError(Exception):
    """The hub or the way to it failed; the cause is the library's own error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """One file of a hub repository. headers: sent with the request to `url`."""

    repository: str
    revision: str
    name: str
    num_bytes: int
    url: str
    headers: dict[str, str]


def is_offline() -> bool:
    """Whether the user told the hub's own library to stay offline."""
    value = os.environ.get("HF_HUB_OFFLINE", "")
    return value.upper() in {"1", "ON", "YES", "TRUE"}


def download_file(entry: CatalogEntry, folder: Path, report: Report) -> Path:
    """Fetch `entry`'s GGUF file into `folder` and return its path; its content is unchecked.

    An interrupted download goes on where it stopped. Raises WeightsError when the hub cannot be
    reached, which a short probe finds out before the library's own long retries begin.
    """
    if is_offline():
        raise WeightsError("the hub was not asked because HF_HUB_OFFLINE is set")
    url = huggingface_hub.hf_hub_url(
        entry.hub_repository, entry.file_name, revision=entry.hub_revision
    )
    logger.info("asking the hub for %s of %s", entry.file_name, entry.hub_repository)
    report("Asking the hub", None)
    # The library raises its own, its HTTP client's and plain OS errors: any of them means "no".
    try:
        facts = huggingface_hub.get_hf_file_metadata(url, token=False, timeout=PROBE_TIMEOUT_S)
    except Exception as error:
        raise WeightsError(
            f"the hub repository {entry.hub_repository} cannot be reached ({reason(error)})"
        ) from None
    if facts.size is not None and facts.size != entry.num_bytes:
        raise WeightsError(
            f"{entry.file_name} has {facts.size} bytes on the hub instead of {entry.num_bytes}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    incomplete = folder / f"{entry.file_name}.incomplete"
    remote = RemoteFile(
        repository=entry.hub_repository,
        revision=entry.hub_revision,
        name=entry.file_name,
        num_bytes=entry.num_bytes,
        url=facts.location,
        headers={},
    )
    try:
        download_rest(
            remote,
            incomplete,
            lambda size: report("Downloading from the hub", min(1.0, size / entry.num_bytes)),
        )
    except TransferError as error:
        raise WeightsError(f"the download from the hub broke off ({reason(error)})") from None
    return incomplete.rename(folder / entry.file_name)


def download_rest(remote: RemoteFile, path: Path, on_size: Callable[[int], None]) -> None:
    """Append to `path` what it lacks of `remote`; the content is not checked.

    on_size is called with the size of `path` in bytes after each write. Whatever ends the call
    early, `path` keeps what has arrived, and the next call asks only for the rest. Raises
    TransferError when the hub fails, WeightsError when `path` cannot be written.
    """
    if not _can_resume():
        _download_whole(remote, path)
        on_size(path.stat().st_size)
        return
    with store.writing(), path.open("ab") as file:
        if file.tell() > remote.num_bytes:
            file.truncate(0)
            file.seek(0)
        if file.tell() == remote.num_bytes:
            return
        sink = _CountedFile(file, on_size)
        disable_progress_bars(_LIBRARY_BAR)
        try:
            http_get(remote.url, sink, resume_size=file.tell(), headers=remote.headers)
        except Exception as error:
            if error is sink.failure:
                raise
            if _is_beyond_the_end(error):
                file.truncate(0)
            raise TransferError from error
        finally:
            enable_progress_bars(_LIBRARY_BAR)


class _CountedFile:
    """As much of a binary file as the library needs, reporting the size after each write.

    failure: the error of a write, which the library passes on among its own.
    """

    def __init__(self, file: BinaryIO, on_size: Callable[[int], None]) -> None:
        self._file = file
        self._on_size = on_size
        self.failure: OSError | None = None
        self.seek, self.tell, self.truncate = file.seek, file.tell, file.truncate

    def write(self, data: bytes) -> int:
        try:
            written = self._file.write(data)
            # What has arrived must outlive this process, however it ends.
            self._file.flush()
        except OSError as error:
            self.failure = error
            raise
        self._on_size(self._file.tell())
        return written


def _can_resume() -> bool:
    """Whether this version of the library streams as `download_rest` asks it to."""
    if http_get is None:
        return False
    try:
        inspect.signature(http_get).bind("url", None, resume_size=0, headers={})
    except TypeError:
        logger.warning("this huggingface_hub cannot resume a file; downloads start anew")
        return False
    return True


def _download_whole(remote: RemoteFile, path: Path) -> None:
    """The public way, which cannot go on where an earlier process stopped."""
    scratch = path.with_name(f"{path.name}.whole")
    with store.writing():
        try:
            fetched = huggingface_hub.hf_hub_download(
                remote.repository, remote.name, revision=remote.revision, local_dir=scratch
            )
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise TransferError from error
        os.replace(fetched, path)
        shutil.rmtree(scratch, ignore_errors=True)


def _is_beyond_the_end(error: Exception) -> bool:
    """Whether the hub answered that its file is shorter than what is here already."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return bool(status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)


def reason(error: BaseException) -> str:
    """The first line of the innermost known cause, for one clause of a sentence."""
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = str(cause).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(cause).__name__
