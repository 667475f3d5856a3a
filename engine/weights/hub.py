"""Files from the publisher's model hub, through `huggingface_hub`: resumable, with progress.

Used by `engine.weights.pull` (one GGUF file of the catalogue) and `engine.weights.resolve` (a
whole checkpoint by hub id). Every failure of the hub becomes one sentence.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any, BinaryIO, cast

import huggingface_hub
from huggingface_hub import errors
from huggingface_hub.file_download import http_get
from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars, tqdm

from engine.weights.catalog import CatalogEntry
from engine.weights.errors import WeightsError
from engine.weights.progress import Report

logger = logging.getLogger(__name__)

HUB_ID = re.compile(r"^(?P<repository>[\w-][\w.-]*/[\w-][\w.-]*)(?:@(?P<revision>[\w./-]+))?$")
"""``owner/name`` with an optional ``@revision`` (branch, tag or commit)."""

SNAPSHOT_PATTERNS = (
    "config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "linear_spec_lora/*.json",
    "linear_spec_lora/*.safetensors",
)

_PROBE_TIMEOUT_S = 5.0
_LIBRARY_BAR = "huggingface_hub.http_get"


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
        facts = huggingface_hub.get_hf_file_metadata(url, token=False, timeout=_PROBE_TIMEOUT_S)
    except Exception as error:
        raise WeightsError(
            f"the hub repository {entry.hub_repository} cannot be reached ({_reason(error)})"
        ) from None
    if facts.size is not None and facts.size != entry.num_bytes:
        raise WeightsError(
            f"{entry.file_name} has {facts.size} bytes on the hub instead of {entry.num_bytes}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    incomplete = folder / f"{entry.file_name}.incomplete"
    try:
        _download_rest(facts.location, incomplete, entry.num_bytes, report)
    except Exception as error:
        raise WeightsError(f"the download from the hub broke off ({_reason(error)})") from None
    return incomplete.rename(folder / entry.file_name)


def _download_rest(url: str, path: Path, num_bytes: int, report: Report) -> None:
    """Append to `path` what it lacks of the file at `url`.

    The library's own download functions start every file anew, so its streaming function is
    called directly; that one retries and resumes within one call.
    """
    with path.open("ab") as file:
        if file.tell() > num_bytes:
            file.truncate(0)
            file.seek(0)
        counted = _CountedFile(file, num_bytes, report)
        disable_progress_bars(_LIBRARY_BAR)
        try:
            http_get(
                url,
                cast(BinaryIO, counted),
                resume_size=file.tell(),
                expected_size=num_bytes,
            )
        finally:
            enable_progress_bars(_LIBRARY_BAR)


class _CountedFile:
    """As much of a binary file as the library needs, reporting each write."""

    def __init__(self, file: BinaryIO, num_bytes: int, report: Report) -> None:
        self._file = file
        self._num_bytes = num_bytes
        self._report = report
        self.seek, self.tell, self.truncate = file.seek, file.tell, file.truncate

    def write(self, data: bytes) -> int:
        written = self._file.write(data)
        self._report("Downloading from the hub", min(1.0, self._file.tell() / self._num_bytes))
        return written


def download_snapshot(spec: str, *, offline: bool, report: Report) -> Path:
    """Folder of the hub repository `spec` (``owner/name[@revision]``), fetched where needed.

    Only safetensors, configs and the tokenizer are fetched. Raises WeightsError.
    """
    match = HUB_ID.match(spec)
    if match is None:
        raise WeightsError(f"{spec!r} is no hub id; write it as owner/name or owner/name@revision.")
    repository, revision = match["repository"], match["revision"]
    offline = offline or is_offline()
    report(f"Looking for {spec}", None)
    try:
        folder = huggingface_hub.snapshot_download(
            repository,
            revision=revision,
            allow_patterns=list(SNAPSHOT_PATTERNS),
            local_files_only=offline,
            etag_timeout=_PROBE_TIMEOUT_S,
            tqdm_class=_reporting_bar(report, f"Downloading {spec}"),
        )
    except errors.GatedRepoError:
        raise WeightsError(
            f"The hub repository {repository} needs its licence accepted on its web page and "
            "a login with `hf auth login`."
        ) from None
    except errors.RepositoryNotFoundError:
        raise WeightsError(
            f"{repository} is neither a local path nor a public repository of the hub."
        ) from None
    except errors.RevisionNotFoundError:
        raise WeightsError(
            f"The hub repository {repository} has no revision {revision!r}."
        ) from None
    except errors.LocalEntryNotFoundError as error:
        raise WeightsError(_absent(spec, error, offline=offline)) from None
    except Exception as error:
        raise WeightsError(
            f"{spec} could not be downloaded from the hub ({_reason(error)})."
        ) from None
    return Path(folder)


def _absent(spec: str, error: Exception, *, offline: bool) -> str:
    if offline:
        return (
            f"{spec} is neither a local path nor in the hub's local cache, and offline mode "
            "forbids downloading it; run once online."
        )
    return (
        f"{spec} is neither a local path nor in the hub's local cache, and the hub cannot be "
        f"reached ({_reason(error)})."
    )


def _reason(error: Exception) -> str:
    """The first line of the innermost known cause, for one clause of a sentence."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = str(cause).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(cause).__name__


def _reporting_bar(report: Report, phase: str) -> type[tqdm]:
    """A tqdm class that draws nothing and passes the fraction of downloaded bytes on."""

    class ReportingBar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._counts_bytes = kwargs.get("unit") == "B"
            untyped: Any = super()
            untyped.__init__(*args, **{**kwargs, "disable": False, "file": _Nowhere()})

        def update(self, n: float | None = 1) -> bool | None:
            shown: bool | None = super().update(n)
            if self._counts_bytes and self.total:
                report(phase, min(1.0, self.n / self.total))
            return shown

    return ReportingBar


class _Nowhere:
    """A text stream that swallows everything."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        return None
