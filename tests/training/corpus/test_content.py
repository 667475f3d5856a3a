"""What `nemodiff train data` puts into a corpus, against a local registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.training.corpus.shards import Document, read_corpus

from .benchmarks import CLOSEST, MBPP, PLAIN, write_rows
from .builders import module, npm_tarball, sdist
from .corpora import (
    HELD_OUT_NAMES,
    TRAIN_NAMES,
    Train,
    offer,
    offer_all,
    read_documents,
    read_manifest,
    read_report,
)
from .fake_registry import FakeRegistry, File, NpmVersion


def test_packages_become_shards(registry: FakeRegistry, train: Train, tmp_path: Path) -> None:
    assert train(packages=offer_all(registry)) == 0
    found = read_documents(tmp_path / "corpus")
    assert len(found) == 2 * len(TRAIN_NAMES)
    name = TRAIN_NAMES[0]
    assert found[f"{name}:{name}/one.py"] == Document(
        "pypi", name, "1.0", f"{name}/one.py", "python", module(f"{name}.one")
    )
    row = read_manifest(tmp_path / "corpus")[name]
    assert row["ecosystem"] == "pypi" and row["version"] == "1.0" and len(row["sha256"]) == 64
    assert (row["licence"], row["licence_source"], row["split"]) == ("MIT", "classifier", "train")
    assert row["num_files"] == 2
    assert row["num_bytes"] == sum(
        len(module(f"{name}.{stem}").encode()) for stem in ("one", "two")
    )
    languages = read_report(tmp_path / "corpus")["documents"]["train"]
    assert languages["python"]["num_files"] == 2 * len(TRAIN_NAMES)


def test_packages_are_split_whole(registry: FakeRegistry, train: Train, tmp_path: Path) -> None:
    train(packages=offer_all(registry))
    trained = {document.package for document in read_corpus(tmp_path / "corpus", "train")}
    held_out = {document.package for document in read_corpus(tmp_path / "corpus", "heldout")}
    assert trained == set(TRAIN_NAMES)
    assert held_out == set(HELD_OUT_NAMES)
    rows = read_manifest(tmp_path / "corpus")
    assert {rows[name]["held_out_by"] for name in HELD_OUT_NAMES} == {"hash of the name"}


def test_listed_packages_are_held_out(registry: FakeRegistry, train: Train, tmp_path: Path) -> None:
    packages = offer_all(registry)
    offer(registry, "onnx-ir", core=module("onnx"))
    train(packages=["ONNX_IR", *packages])
    assert read_manifest(tmp_path / "corpus")["onnx-ir"]["held_out_by"] == "list"
    assert "onnx-ir:onnx-ir/core.py" in read_documents(tmp_path / "corpus", "heldout")


def test_a_held_out_file_does_not_come_again_in_training(
    registry: FakeRegistry, train: Train, tmp_path: Path
) -> None:
    text = module("shared", 12)
    offer(registry, HELD_OUT_NAMES[0], core=text)
    offer(registry, TRAIN_NAMES[0], core=text.replace("    ", "  "), own=module("own"))
    offer(registry, TRAIN_NAMES[1], core=text + module("few", 1), own=module("other"))
    train(packages=[HELD_OUT_NAMES[0], *TRAIN_NAMES[:2]])
    assert [
        document.path.rsplit("/")[-1] for document in read_documents(tmp_path / "corpus").values()
    ] == [
        "own.py",
        "own.py",
    ]
    assert read_report(tmp_path / "corpus")["duplicates"] == {"exact": 1, "near": 1}


@pytest.mark.parametrize(
    ("licence", "reason"),
    [
        ("License-Expression: GPL-3.0-only\n", "not permissive licence"),
        ("License: LGPL\n", "not permissive licence"),
        ("Classifier: License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)\n", None),
        ("", "no licence is given"),
        ("License: Proprietary\n", "not permissive licence"),
        ("License: ask us\n", "unknown licence"),
    ],
)
def test_packages_without_a_permissive_licence_are_dropped(
    registry: FakeRegistry, train: Train, tmp_path: Path, licence: str, reason: str | None
) -> None:
    offer(registry, TRAIN_NAMES[0], licence, core=module("bad"))
    offer(registry, TRAIN_NAMES[1], core=module("good"))
    train(packages=TRAIN_NAMES[:2])
    assert list(read_documents(tmp_path / "corpus")) == [
        f"{TRAIN_NAMES[1]}:{TRAIN_NAMES[1]}/core.py"
    ]
    row = read_manifest(tmp_path / "corpus")[TRAIN_NAMES[0]]
    assert row["reason"] == (reason or "not permissive licence") and row["split"] is None
    assert row["sha256"] is not None


def test_planted_benchmarks_are_dropped_whole(
    registry: FakeRegistry, train: Train, tmp_path: Path
) -> None:
    given = write_rows(tmp_path / "mbpp.jsonl", [dict(MBPP)])
    name = TRAIN_NAMES[0]
    offer(
        registry,
        name,
        solution=module("a") + str(CLOSEST["canonical_solution"]),
        plain=module("b") + str(PLAIN["canonical_solution"]),
        task=module("c") + "# " + str(MBPP["text"]) + "\n",
        innocent=module("d"),
    )
    train("--decontaminate", str(given), packages=[name])
    assert list(read_documents(tmp_path / "corpus")) == [f"{name}:{name}/innocent.py"]
    report = read_report(tmp_path / "corpus")
    found = {entry["path"]: entry["task"] for entry in report["contaminated_files"]}
    assert found == {
        f"{name}/solution.py": "HumanEval.jsonl.gz: Own/0",
        f"{name}/plain.py": "HumanEval.jsonl.gz: Own/1",
        f"{name}/task.py": "mbpp.jsonl: 7",
    }
    assert report["benchmarks"]["num_tasks"] == {"mbpp.jsonl": 1, "HumanEval.jsonl.gz": 2}
    assert report["files_dropped"]["contaminated"] == 3


def test_nothing_of_an_archive_is_run_or_written(
    registry: FakeRegistry, train: Train, tmp_path: Path
) -> None:
    """setup.py of `sdist` raises, and paths that lead outside drop their package."""
    offer(registry, TRAIN_NAMES[0], core=module("good"))
    evil = sdist("x", {"core.py": module("evil"), "../../../evil.py": module("more")})
    registry.python[TRAIN_NAMES[1]] = [File(f"{TRAIN_NAMES[1]}-1.0.tar.gz", evil)]
    train(packages=TRAIN_NAMES[:2])
    row = read_manifest(tmp_path / "corpus")[TRAIN_NAMES[1]]
    assert row["reason"] == "unsafe path in the archive"
    assert not list(tmp_path.rglob("*.py")) and not (tmp_path.parent / "evil.py").exists()


def test_the_size_is_kept_to_and_no_package_fills_it(
    registry: FakeRegistry, train: Train, tmp_path: Path
) -> None:
    """Of 0.6 MB a package may fill 2**18 bytes, so the third is cut and the fourth not needed."""
    for name in TRAIN_NAMES[:4]:
        offer(registry, name, **{f"m{part}": module(f"{name}.{part}", 20) for part in range(60)})
    train("--languages", "python", packages=TRAIN_NAMES[:4], size="0.6")
    rows = read_manifest(tmp_path / "corpus")
    sizes = [rows[name]["num_bytes"] for name in TRAIN_NAMES[:3]]
    assert 590_000 < sum(sizes) <= 600_000
    assert max(sizes) <= 2**18 < 1.1 * sizes[0]
    assert TRAIN_NAMES[3] not in rows
    found = read_documents(tmp_path / "corpus").values()
    kept = {document.path for document in found if document.package == TRAIN_NAMES[0]}
    first = {f"{TRAIN_NAMES[0]}/m{part}.py" for part in range(len(kept))}
    assert kept != first, "not the start of the archive, but files from all of it"


def test_scripts_from_npm(registry: FakeRegistry, train: Train, tmp_path: Path) -> None:
    body = "export const {0} = (first: number): number => first + {1};\n"
    text = "".join(body.format(f"sum{number}", number) for number in range(9))
    files = {
        "src/core.ts": text,
        "src/core.js": text.replace(": number", ""),
        "dist/core.js": text.replace("sum", "built"),
        "lib/tool.js": text.replace(": number", "").replace("sum", "tool"),
    }
    registry.npm["good"] = NpmVersion("1.0.0", npm_tarball("good", files))
    registry.npm["bad"] = NpmVersion("1.0.0", npm_tarball("bad", files, licence="UNLICENSED"))
    train("--languages", "typescript,javascript", packages=["npm:bad", "npm:good"], size="0.1")
    found = {
        key: document.language for key, document in read_documents(tmp_path / "corpus").items()
    }
    assert found == {"good:src/core.ts": "typescript", "good:lib/tool.js": "javascript"}
    assert read_manifest(tmp_path / "corpus")["bad"]["reason"] == "proprietary licence"
