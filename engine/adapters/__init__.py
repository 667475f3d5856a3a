"""The trained adapters that come with NemoDiff: a folder for each catalog model that has some.

``<model>/causal/`` and ``<model>/draft/`` are PEFT folders as `engine.weights.adapters` writes
them, ``<model>/gate.json`` the gate calibrated with them (`engine.infill.gate`), ``README.md`` the
model card. The sha256 of the catalog entry fixes the base, so the model's name decides alone.
Used by `engine.engine`; any of them may be missing.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Literal

from engine.weights.catalog import find_entry

AdapterKind = Literal["causal", "draft"]


def built_in_adapter(model: str, kind: AdapterKind) -> Path | None:
    """Folder of the adapter for the catalog model called `model`; None where there is none."""
    folder = _folder(model)
    return folder / kind if folder is not None and (folder / kind).is_dir() else None


def built_in_gate(model: str) -> Path | None:
    """The gate's file for the catalog model called `model`; None where there is none."""
    folder = _folder(model)
    return folder / "gate.json" if folder and (folder / "gate.json").is_file() else None


def _folder(model: str) -> Path | None:
    # A name of the catalog, and no path that happens to lead into this package.
    return Path(str(files(__name__))) / model if find_entry(model) is not None else None
