"""The language server: one thin process per editor window, which asks the resident engine.

It imports `engine.messages` (what crosses the border) and never torch or a model.
"""

from __future__ import annotations
