"""Which engine, model and adapters a command means, compared with what runs.

Used by `serve.py`, `resident.py` and `complete.py`; makes no folder and imports no torch.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from engine.config import NO_ADAPTER, EngineConfig
from engine.messages.address import EngineAddress, ensure_private_folder, runtime_path


def existing_address(text: str | None) -> EngineAddress:
    """The engine that `text` names, or the user's own, for a command that only looks for it.

    Unlike EngineAddress.default, makes no runtime folder, but one that exists is checked all the
    same: another user's socket must not be trusted. Raises AddressError.
    """
    if text is not None:
        return EngineAddress.parse(text)
    folder = runtime_path()
    if folder.exists() or folder.is_symlink():
        ensure_private_folder(folder)
    return EngineAddress.within(folder)


def add_adapter_flags(group: argparse._ArgumentGroup) -> None:
    """``--draft-adapter`` and ``--causal-adapter``, named like the fields of EngineConfig."""
    for kind, what in (("draft", "guesses ahead"), ("causal", "is merged into the base")):
        group.add_argument(
            f"--{kind}-adapter",
            type=_adapter,
            metavar="FOLDER|none",
            help=f"what {what} (default: the one that comes with the model, if any)",
        )


def add_graph_flags(group: argparse._ArgumentGroup) -> None:
    """``--graphs`` and ``--kernels``, named like the fields of EngineConfig."""
    default = EngineConfig()
    group.add_argument(
        "--graphs",
        default=default.graphs,
        choices=("auto", "on", "off"),
        help="passes of the decoding modes as CUDA graphs (auto: where they can be)",
    )
    group.add_argument(
        "--kernels",
        default=default.kernels,
        metavar="A,B|all|none",
        help="Triton kernels that these use, for measurements (default: %(default)s)",
    )


def _adapter(text: str) -> Path | Literal["none"]:
    # Absolute, so that a folder of that name stays one when it is handed to another process.
    return NO_ADAPTER if text == NO_ADAPTER else Path(text).absolute()


def matching_name(asked: str, names: Iterable[str]) -> str | None:
    """The one of an engine's model `names` that means the model `asked`; None when none does.

    Two spellings of one existing file or folder are one model.
    """
    names = list(names)
    if asked in names:
        return asked
    path = _existing_path(asked)
    if path is None:
        return None
    return next((name for name in names if _existing_path(name) == path), None)


def _existing_path(name: str) -> Path | None:
    # A bare word is a name of the list first of all, whatever lies in the current folder.
    if not name.strip():
        return None
    try:
        path = Path(name).expanduser()
        return path.resolve() if path.exists() else None
    except (OSError, RuntimeError, ValueError):
        return None
