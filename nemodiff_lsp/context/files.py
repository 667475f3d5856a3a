"""Files: texts of the workspace's files, the open ones as the user sees them, others from the disk.

Used by `definitions.py`. Every file is judged by the privacy policy before a byte of it is used.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

from pygls.uris import from_fs_path

_MAX_FILE_BYTES = 512 * 1024
_MAX_KEPT = 128


class WorkspaceFiles:
    """Reads files at most once per state on the disk.

    is_allowed(uri, text): whether a file may be shown to the model. open_text(uri): the text of an
    open document, else None. May be used from one other thread than the one that made it.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        *,
        is_allowed: Callable[[str, str | None], bool],
        open_text: Callable[[str], str | None],
    ) -> None:
        self.folders = tuple(folders)
        self._is_allowed, self._open_text = is_allowed, open_text
        self._kept: OrderedDict[Path, tuple[tuple[int, int], str | None]] = OrderedDict()

    def text(self, path: Path) -> str | None:
        """The file's text; None when it may not be used or cannot be read."""
        uri = from_fs_path(str(path))
        if uri is None:
            return None
        opened = self._open_text(uri)
        if opened is not None:
            return opened if self._is_allowed(uri, opened) else None
        try:
            stat = path.stat()
        except OSError:
            return None
        state = (stat.st_mtime_ns, stat.st_size)
        kept = self._kept.get(path)
        # An ignore file may have changed since, so the policy is asked each time.
        if kept is None or kept[0] != state:
            text = self._read(path, stat.st_size) if self._is_allowed(uri, None) else None
            kept = (state, text)
            self._kept[path] = kept
            while len(self._kept) > _MAX_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(path)
        text = kept[1]
        return text if text is not None and self._is_allowed(uri, text) else None

    def shown_path(self, path: Path) -> str:
        """As a reader of the project would name it: relative to its workspace folder."""
        for folder in self.folders:
            if path.is_relative_to(folder):
                return path.relative_to(folder).as_posix()
        return path.name

    def _read(self, path: Path, num_bytes: int) -> str | None:
        if num_bytes > _MAX_FILE_BYTES:
            return None
        try:
            return path.read_bytes().decode("utf-8").replace("\r\n", "\n")
        except (OSError, UnicodeDecodeError):
            return None
