"""Which engine and which model a command means, compared with what runs.

Used by `serve.py`, `resident.py` and `complete.py`; makes no folder and imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

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
    return EngineAddress(socket=folder / "engine.sock")


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
