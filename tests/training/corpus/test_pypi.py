"""The Simple API: which archive of a package is taken, and from where."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.training.corpus.archive_cache import ArchiveCache
from engine.training.corpus.errors import CorpusError
from engine.training.corpus.pypi import (
    DEFAULT_INDEX,
    PyPI,
    parse_pip_configuration,
    pip_configuration,
)
from engine.training.corpus.registry import PackageError, RegistryUnreachable

from .builders import module, sdist, wheel
from .fake_registry import FakeRegistry, File

_FILES = {"alpha/core.py": module("core")}


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ArchiveCache]:
    cache = ArchiveCache(tmp_path / "downloads")
    yield cache
    cache.close()


def _pypi(registry: FakeRegistry, cache: ArchiveCache) -> PyPI:
    return PyPI(cache, (registry.index,))


def _offer(registry: FakeRegistry, *names: str) -> None:
    registry.python["alpha"] = [File(name, sdist("alpha", _FILES)) for name in names]


@pytest.mark.parametrize("is_json", [True, False])
@pytest.mark.parametrize(
    ("names", "pin", "chosen"),
    [
        (["alpha-1.9.tar.gz", "alpha-1.10.tar.gz"], None, "alpha-1.10.tar.gz"),
        (["alpha-1.0.tar.gz", "alpha-2.0rc1.tar.gz"], None, "alpha-1.0.tar.gz"),
        (["alpha-1.0-py3-none-any.whl", "alpha-1.0.tar.gz"], None, "alpha-1.0.tar.gz"),
        (
            ["alpha-1.0-cp311-cp311-linux_x86_64.whl", "alpha-1.0-py3-none-any.whl"],
            None,
            "alpha-1.0-py3-none-any.whl",
        ),
        (["alpha-2.0-py3-none-any.whl", "alpha-1.0.tar.gz"], None, "alpha-2.0-py3-none-any.whl"),
        (["alpha-1.0.tar.gz", "alpha-2.0.tar.gz"], "1.0", "alpha-1.0.tar.gz"),
        (["alpha-1.0.tar.gz", "alpha-2.0rc1.tar.gz"], "2.0rc1", "alpha-2.0rc1.tar.gz"),
        (["other-9.0.tar.gz", "README", "alpha-1.0.zip"], None, "alpha-1.0.zip"),
    ],
)
def test_the_archive_that_is_taken(
    registry: FakeRegistry,
    cache: ArchiveCache,
    is_json: bool,
    names: list[str],
    pin: str | None,
    chosen: str,
) -> None:
    registry.is_json = is_json
    _offer(registry, *names)
    assert _pypi(registry, cache).find("Alpha", pin)[0].file_name == chosen


def test_a_yanked_version_is_taken_only_by_its_name(
    registry: FakeRegistry, cache: ArchiveCache
) -> None:
    for is_json in (True, False):
        registry.is_json = is_json
        _offer(registry, "alpha-1.0.tar.gz", "alpha-2.0.tar.gz")
        registry.python["alpha"][1].is_yanked = True
        assert _pypi(registry, cache).find("alpha", None)[0].version == "1.0"
        assert _pypi(registry, cache).find("alpha", "2.0")[0].version == "2.0"


@pytest.mark.parametrize(
    ("names", "pin", "reason"),
    [
        ([], None, "no usable version"),
        (["alpha-1.0rc1.tar.gz"], None, "no usable version"),
        (["alpha-1.0.tar.gz"], "2.0", "no usable version"),
        (["alpha-1.0.tar.gz"], "newest", "the pin is no version"),
    ],
)
def test_no_archive(
    registry: FakeRegistry, cache: ArchiveCache, names: list[str], pin: str | None, reason: str
) -> None:
    _offer(registry, *names)
    with pytest.raises(PackageError, match=reason):
        _pypi(registry, cache).find("alpha", pin)


def test_a_package_that_is_not_there(registry: FakeRegistry, cache: ArchiveCache) -> None:
    with pytest.raises(PackageError, match="not in the registry"):
        _pypi(registry, cache).fetch("alpha", None)


def test_an_archive_is_downloaded_once_and_checked_each_time(
    registry: FakeRegistry, cache: ArchiveCache
) -> None:
    _offer(registry, "alpha-1.0.tar.gz")
    content = registry.python["alpha"][0].content
    pypi = _pypi(registry, cache)
    version, archive = pypi.fetch("alpha", None)
    assert (version, archive.sha256) == ("1.0", hashlib.sha256(content).hexdigest())
    assert pypi.fetch("alpha", None)[1] == archive
    assert registry.archives() == ["alpha-1.0.tar.gz"]
    archive.path.write_bytes(b"damaged")
    assert pypi.fetch("alpha", None)[1].path.read_bytes() == content
    assert len(registry.archives()) == 2


def test_another_content_than_announced_is_refused(
    registry: FakeRegistry, cache: ArchiveCache, tmp_path: Path
) -> None:
    _offer(registry, "alpha-1.0.tar.gz")
    registry.python["alpha"][0].digest = "0" * 64
    with pytest.raises(PackageError, match="the archive's digest is wrong"):
        _pypi(registry, cache).fetch("alpha", None)
    assert not [path for path in (tmp_path / "downloads").rglob("*") if path.is_file()]


def test_an_archive_without_a_digest_is_taken(registry: FakeRegistry, cache: ArchiveCache) -> None:
    _offer(registry, "alpha-1.0.tar.gz")
    registry.python["alpha"][0].digest = ""
    pypi = _pypi(registry, cache)
    assert pypi.fetch("alpha", None) == pypi.fetch("alpha", None)
    assert len(registry.archives()) == 1


def test_a_large_archive_is_not_downloaded_to_its_end(
    registry: FakeRegistry, cache: ArchiveCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.training.corpus.archive_cache.MAX_ARCHIVE_BYTES", 100)
    _offer(registry, "alpha-1.0.tar.gz")
    with pytest.raises(PackageError, match="archive too large"):
        _pypi(registry, cache).fetch("alpha", None)


def test_a_server_that_stumbles_is_asked_again(registry: FakeRegistry, cache: ArchiveCache) -> None:
    _offer(registry, "alpha-1.0.tar.gz")
    registry.failures = {"/simple/": 2}
    assert _pypi(registry, cache).fetch("alpha", None)[0] == "1.0"
    registry.failures = {"/simple/": 3}
    with pytest.raises(PackageError, match="the registry answers 503"):
        _pypi(registry, cache).fetch("alpha", None)


def test_a_download_that_breaks_off_is_begun_again(
    registry: FakeRegistry, cache: ArchiveCache, tmp_path: Path
) -> None:
    _offer(registry, "alpha-1.0.tar.gz")
    pypi = _pypi(registry, cache)
    registry.cut_short = {"/files/": 3}
    with pytest.raises(RegistryUnreachable):
        pypi.fetch("alpha", None)
    assert not [path for path in (tmp_path / "downloads").rglob("*") if path.is_file()]
    registry.cut_short = {"/files/": 2}
    assert pypi.fetch("alpha", None)[1].path.read_bytes() == registry.python["alpha"][0].content


def test_no_server_at_all(cache: ArchiveCache) -> None:
    pypi = PyPI(cache, ("http://127.0.0.1:9/simple",))
    with pytest.raises(RegistryUnreachable, match=r"127\.0\.0\.1"):
        pypi.find("alpha", None)


def test_an_index_in_a_folder(cache: ArchiveCache, tmp_path: Path) -> None:
    (tmp_path / "index/simple/alpha").mkdir(parents=True)
    content = wheel("alpha", _FILES)
    (tmp_path / "index/alpha-1.0-py3-none-any.whl").write_bytes(content)
    page = tmp_path / "index/simple/alpha/index.html"
    link = '<a href="../../alpha-1.0-py3-none-any.whl#sha256={}">alpha</a>'
    page.write_text(link.format(hashlib.sha256(content).hexdigest()))
    pypi = PyPI(cache, ((tmp_path / "index/simple").as_uri(),))
    version, archive = pypi.fetch("alpha", None)
    assert (version, archive.path.read_bytes()) == ("1.0", content)
    page.write_text(link.format("0" * 64))
    with pytest.raises(PackageError, match="the archive's digest is wrong"):
        pypi.fetch("alpha", None)
    with pytest.raises(PackageError, match="not in the registry"):
        pypi.fetch("beta", None)


def test_a_server_cannot_point_into_this_machine(
    registry: FakeRegistry, cache: ArchiveCache, tmp_path: Path
) -> None:
    secret = tmp_path / "alpha-1.0.tar.gz"
    secret.write_bytes(b"secret")
    registry.is_json = False
    registry.python["alpha"] = [File("alpha-1.0.tar.gz", b"")]
    registry.python["alpha"][0].digest = f'"></a><a href="{secret.as_uri()}'
    assert all(
        archive.url.startswith("http") for archive in _pypi(registry, cache).find("alpha", None)
    )


def test_the_first_index_that_has_a_package_counts(
    registry: FakeRegistry, cache: ArchiveCache
) -> None:
    _offer(registry, "alpha-1.0.tar.gz")
    pypi = PyPI(cache, (f"{registry.url}/other", registry.index))
    assert pypi.find("alpha", None)[0].url.startswith(registry.url)


def test_pip_is_asked_for_its_index(registry: FakeRegistry) -> None:
    assert pip_configuration().indexes == (registry.index,)


@pytest.mark.parametrize(
    ("listing", "indexes", "certificate"),
    [
        ("", (DEFAULT_INDEX,), None),
        ("global.index-url='https://a/simple'\n", ("https://a/simple",), None),
        (
            ":env:.index-url='https://c/simple'\nglobal.index-url='https://a/simple'\n"
            "download.index-url='https://b/simple'\n",
            ("https://c/simple",),
            None,
        ),
        (
            "global.extra-index-url='https://b/simple file:///c/simple\\nfile:///d'\n"
            "global.cert='/x.pem'\n",
            ("file:///c/simple", "file:///d", DEFAULT_INDEX, "https://b/simple"),
            "/x.pem",
        ),
        ("install.index-url='https://a'\nnonsense\n", (DEFAULT_INDEX,), None),
    ],
)
def test_what_pip_says(listing: str, indexes: tuple[str, ...], certificate: str | None) -> None:
    found = parse_pip_configuration(listing)
    assert (found.indexes, found.certificate) == (indexes, certificate)


def test_no_index_is_told() -> None:
    with pytest.raises(CorpusError, match=re.escape("(no-index)")):
        parse_pip_configuration(":env:.no-index='1'\n")


def test_a_certificate_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"nothing\.pem that pip is configured with"):
        ArchiveCache(tmp_path, str(tmp_path / "nothing.pem"))
