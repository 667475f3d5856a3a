"""Archives as the registries have them, and source text that passes every filter."""

from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
import zipfile
from collections.abc import Mapping

MIT = "Classifier: License :: OSI Approved :: MIT License\n"

_WORDS = (
    "account batch buffer channel client cursor digest entry event folder handle index journal "
    "ledger manager message metric packet parser payload record region report request router "
    "sample schema session signal source stream target ticket token vector window worker"
).split()


def module(name: str, num_functions: int = 6) -> str:
    """A Python module that depends on `name` alone and shares no long line with another one."""
    source = random.Random(name)
    lines = [f'"""Functions for {name}."""', ""]
    for number in range(num_functions):
        first, second, third = source.sample(_WORDS, 3)
        key = source.randrange(10**6)
        lines += [
            f"def {first}_{second}_{key}({third}, {first}_count_{key}=None):",
            f"    {second}_{key} = [{third}.{first}_{key} for {third} in {third}.all_{second}()]",
            f"    if {first}_count_{key} is None and not {second}_{key}:",
            f"        raise LookupError('{name}: no {first} has {third} {key}')",
            f"    return {{'{first}': {second}_{key}, 'number_{key}': {number}}}",
            "",
        ]
    return "\n".join(lines)


def metadata(name: str, version: str, licence: str) -> str:
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{licence}\n"


def tar_gz(files: Mapping[str, bytes | str]) -> bytes:
    """A .tar.gz with the members `files`; its bytes depend on them alone."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, content in files.items():
            data = content.encode("utf-8") if isinstance(content, str) else content
            member = tarfile.TarInfo(path)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), mtime=0)


def zipped(files: Mapping[str, bytes | str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, content in files.items():
            archive.writestr(zipfile.ZipInfo(path), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def sdist(
    name: str, files: Mapping[str, bytes | str], *, version: str = "1.0", licence: str = MIT
) -> bytes:
    """A source distribution. licence: header lines of its PKG-INFO, each with its line end."""
    root = f"{name}-{version}"
    return tar_gz(
        {
            **{f"{root}/{path}": content for path, content in files.items()},
            f"{root}/PKG-INFO": metadata(name, version, licence),
            # Shorter than any document, so that it is never one.
            f"{root}/setup.py": "raise SystemExit('this was run')\n",
        }
    )


def wheel(
    name: str, files: Mapping[str, bytes | str], *, version: str = "1.0", licence: str = MIT
) -> bytes:
    note = {f"{name}-{version}.dist-info/METADATA": metadata(name, version, licence)}
    return zipped({**files, **note})


def npm_tarball(name: str, files: Mapping[str, bytes | str], *, licence: object = "MIT") -> bytes:
    package = {"name": name, "version": "1.0.0", "license": licence}
    return tar_gz(
        {
            "package/package.json": json.dumps(package),
            **{f"package/{path}": content for path, content in files.items()},
        }
    )
