"""Trust: whether the opened folder may have its say, as the editor or the user tells.

Used by `settings_sources.py`. A folder may come from anywhere: its own file may never set what is
of scope ``machine`` (paths, addresses, the model), and counts for nothing when it is not trusted.
"""

from __future__ import annotations

from collections.abc import Mapping

from nemodiff_lsp.settings.values import Scope


def stated_trust(options: object) -> bool | None:
    """What `isTrusted` in initializationOptions says; None when it is not there.

    Anything but true counts as false: a client that speaks of trust at all means something by it.
    """
    if not isinstance(options, Mapping) or options.get("isTrusted") is None:
        return None
    return options["isTrusted"] is True


def is_trusted(stated: bool | None, chosen: bool | None) -> bool:
    """Trusted unless the editor (`stated`) or the user's own setting (`chosen`) says no."""
    return stated is not False and chosen is not False


def may_set(scope: Scope, *, is_from_workspace: bool) -> bool:
    """Whether a value of this scope counts when it may come from the opened folder."""
    return scope == "workspace" or not is_from_workspace
