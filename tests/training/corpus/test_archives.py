"""Archives of strangers: read as data, whatever they try."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from engine.training.corpus import archives
from engine.training.corpus.archives import MAX_MEMBER_BYTES, ArchiveError, members

from .builders import tar_gz, zipped

Packer = Callable[[Mapping[str, bytes | str]], bytes]


def _read(folder: Path, name: str, content: bytes) -> dict[str, bytes]:
    path = folder / "archives" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return dict(members(path, lambda name: name.endswith(".py")))


@pytest.mark.parametrize(("name", "packed"), [("a.tar.gz", tar_gz), ("a.zip", zipped)])
def test_wanted_files_are_read(tmp_path: Path, name: str, packed: Packer) -> None:
    content = packed({"a-1/x.py": "x = 1\n", "a-1/y.txt": "no", "./a-1/z.py": "z = 1\n"})
    assert _read(tmp_path, name, content) == {"a-1/x.py": b"x = 1\n", "a-1/z.py": b"z = 1\n"}


@pytest.mark.parametrize(("name", "packed"), [("a.tar.gz", tar_gz), ("a.whl", zipped)])
@pytest.mark.parametrize(
    "path",
    ["../evil.py", "/tmp/evil.py", "a/../../evil.py", "a\\..\\evil.py", "C:/evil.py", "a/.."],
)
def test_a_path_that_leads_outside_refuses_the_archive(
    tmp_path: Path, name: str, packed: Packer, path: str
) -> None:
    content = packed({"a/good.py": "x = 1\n", path: "x = 2\n"})
    with pytest.raises(ArchiveError, match="unsafe path in the archive"):
        _read(tmp_path, name, content)
    assert [entry.name for entry in tmp_path.rglob("*")] == ["archives", name]


def test_links_and_devices_are_passed_over(tmp_path: Path) -> None:
    secret = tmp_path / "secret.py"
    secret.write_text("password = 'hunter2'\n")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            member = tarfile.TarInfo(f"a/{kind!r}.py")
            member.type, member.linkname = kind, str(secret)
            archive.addfile(member)
    assert _read(tmp_path, "a.tar.gz", buffer.getvalue()) == {}


def test_links_in_a_zip_are_passed_over(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("a/link.py")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert _read(tmp_path, "a.zip", buffer.getvalue()) == {}


@pytest.mark.parametrize(("name", "packed"), [("a.tar.gz", tar_gz), ("a.whl", zipped)])
def test_what_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, packed: Packer
) -> None:
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 2**20)
    bomb = packed({f"a/{number}.py": bytes(2**18) for number in range(8)})
    assert len(bomb) < 2**14
    with pytest.raises(ArchiveError, match="unpacks to too much"):
        _read(tmp_path, name, bomb)


def test_a_bomb_that_nobody_wants_to_read_is_refused_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 2**20)
    with pytest.raises(ArchiveError, match="unpacks to too much"):
        _read(tmp_path, "a.tar.gz", tar_gz({"a/zeros.bin": bytes(2**22), "a/x.py": "x = 1\n"}))


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_NUM_MEMBERS", 10)
    with pytest.raises(ArchiveError, match="too many members"):
        _read(tmp_path, "a.zip", zipped({f"a/{number}.txt": "" for number in range(11)}))


def test_long_members_are_cut_above_the_limit(tmp_path: Path) -> None:
    found = _read(tmp_path, "a.tar.gz", tar_gz({"a/x.py": bytes(MAX_MEMBER_BYTES + 50)}))
    assert len(found["a/x.py"]) == MAX_MEMBER_BYTES + 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tar.gz", b"no archive"),
        ("a.tar.gz", gzip.compress(b"no tar archive either", mtime=0)),
        ("a.tar.gz", tar_gz({"a/x.py": "x" * 5000})[:-40]),
        ("a.zip", b"PK no archive"),
        ("a.zip", zipped({"a/x.py": "x" * 5000})[:-10]),
        ("a.tar.xz", b"no archive"),
    ],
)
def test_damage_is_told_apart(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(ArchiveError, match="damaged archive"):
        _read(tmp_path, name, content)


def test_a_zip_member_that_lies_about_its_checksum_is_damage(tmp_path: Path) -> None:
    content = zipped({"a/x.py": "x = 1  # text\n" * 9})
    at = content.index(b"PK\x01\x02") + 16
    with pytest.raises(ArchiveError, match="damaged archive"):
        _read(tmp_path, "a.zip", content[:at] + b"\0\0\0\0" + content[at + 4 :])


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="unknown kind of archive"):
        _read(tmp_path, "a.rar", b"")
