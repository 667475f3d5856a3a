"""What a hub repository holds at a revision: asks the hub, and turns its refusals into sentences.

Used by `engine.weights.hub_snapshot`. Nothing is fetched here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import huggingface_hub
from huggingface_hub import errors

from engine.weights.checkpoint import PICKLE_SUFFIXES
from engine.weights.errors import WeightsError
from engine.weights.hub import PROBE_TIMEOUT_S, TransferError
from engine.weights.hub_cache import COMMIT, HubFile

SNAPSHOT_PATTERNS = (
    "config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "linear_spec_lora/*.json",
    "linear_spec_lora/*.safetensors",
    "diffusion_adapter/*.json",
    "diffusion_adapter/*.safetensors",
    "causal_adapter/*.json",
    "causal_adapter/*.safetensors",
)
"""What the engine reads; a ``*`` does not reach into folders."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_UNSAFE = re.compile(r'[\\:*?"<>|\x00-\x1f]')
# Listing sizes and hashes takes the hub longer than answering for one file.
_LISTING_TIMEOUT_S = 2 * PROBE_TIMEOUT_S


@dataclass(frozen=True, slots=True)
class Listing:
    """The commit that a revision is at present, and the files of it that the engine reads."""

    commit: str
    files: tuple[HubFile, ...]


def ask_hub(repository: str, revision: str) -> Listing:
    """List `repository` at `revision` (branch, tag or commit), with the library's stored token.

    Raises TransferError when the hub cannot be asked, WeightsError when its answer is a no or the
    repository is no checkpoint.
    """
    # The library raises its own, its HTTP client's and plain OS errors.
    try:
        info = huggingface_hub.HfApi().model_info(
            repository, revision=revision, timeout=_LISTING_TIMEOUT_S, files_metadata=True
        )
    except Exception as error:
        raise failure(error, repository, revision) from error
    commit = info.sha or ""
    if not COMMIT.fullmatch(commit):
        raise WeightsError(f"The hub names no commit for {repository}; try again later.")
    siblings = info.siblings or []
    wanted = [sibling for sibling in siblings if is_wanted(sibling.rfilename)]
    _refuse_unfit(
        repository,
        {sibling.rfilename for sibling in wanted},
        sorted(sibling.rfilename for sibling in siblings),
    )
    return Listing(commit, tuple(_described(repository, commit, sibling) for sibling in wanted))


def is_wanted(name: str) -> bool:
    """Whether a pattern names `name`, part by part, so that no name leads out of the folder."""
    parts = name.split("/")
    if _UNSAFE.search(name):  # a backslash is a separator elsewhere, a colon names a drive
        return False
    return any(
        len(pattern) == len(parts) and all(map(fnmatchcase, parts, pattern))
        for pattern in (pattern.split("/") for pattern in SNAPSHOT_PATTERNS)
    )


def failure(error: Exception, repository: str, revision: str) -> Exception:
    """The error to raise from the library's: a WeightsError where the hub said no."""
    if isinstance(error, errors.GatedRepoError):
        return WeightsError(
            f"The hub repository {repository} needs its licence accepted on its web page and "
            "a login with `hf auth login`."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return WeightsError(
            f"{repository} is neither a local path nor a public repository of the hub; check the "
            "name, or log in with `hf auth login` if it is private."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return WeightsError(
            f"The hub repository {repository} has no revision {revision!r}; "
            "check the branch, tag or commit after the @."
        )
    return TransferError(str(error))


def _refuse_unfit(repository: str, wanted: set[str], everything: Iterable[str]) -> None:
    """Raises WeightsError when the repository is no checkpoint, before anything is fetched."""
    if not any(name.endswith(".safetensors") and "/" not in name for name in wanted):
        pickle = next((name for name in everything if name.endswith(PICKLE_SUFFIXES)), None)
        gguf = next((name for name in everything if name.endswith(".gguf")), None)
        advice = "use another repository"
        if gguf is not None:
            advice = f"download {gguf} from it and give the path of that file"
        elif pickle is not None:
            advice = f"{pickle} is a pickle file, which can run code when loaded; {advice}"
        raise WeightsError(
            f"The hub repository {repository} holds no safetensors weights; {advice}."
        )
    if "config.json" not in wanted:
        raise WeightsError(
            f"The hub repository {repository} is no checkpoint, since config.json is missing; "
            "use another repository."
        )


def _described(repository: str, commit: str, sibling: Any) -> HubFile:
    """Size and sha256 of a file; a hub that leaves the size out of its listing is asked again."""
    name = sibling.rfilename
    size, sha256 = sibling.size, getattr(sibling.lfs, "sha256", None)
    if size is None:
        url = huggingface_hub.hf_hub_url(repository, name, revision=commit)
        try:
            facts = huggingface_hub.get_hf_file_metadata(url, timeout=PROBE_TIMEOUT_S)
        except Exception as error:
            raise failure(error, repository, commit) from error
        # The etag of a large file is its sha256; that of a small one is shorter.
        size, sha256 = facts.size, sha256 or facts.etag
    if size is None:
        raise WeightsError(f"The hub does not tell the size of {repository}/{name}; try again.")
    is_known = isinstance(sha256, str) and _SHA256.fullmatch(sha256)
    return HubFile(name, int(size), sha256 if is_known else None)
