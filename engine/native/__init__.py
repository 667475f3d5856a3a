"""int8 kernels for the CPU in C++, optional: whatever stands in their way, torch does the work.

`problem()` says why they cannot be used here; `engine.models.load` asks it. The sources in `src/`
are compiled on the machine that runs them, by `build.py`.
"""

from __future__ import annotations


class NativeError(Exception):
    """The kernels cannot be used; one sentence without a full stop says why."""


_is_in_use = False


def is_in_use() -> bool:
    """Whether `problem` found none in this process, so that the kernels may be called."""
    return _is_in_use


def problem() -> str | None:
    """Why the kernels cannot be used on this machine; None when they agree with their twin.

    Builds them first if need be and possible.
    """
    global _is_in_use
    from engine.native.check import check
    from engine.native.library import library

    try:
        library()
        check()
    except NativeError as failure:
        _is_in_use = False
        return str(failure)
    _is_in_use = True
    return None
