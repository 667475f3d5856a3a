"""Holes: places in a document that wait to be written, how they are found, and how they are filled.

`find.py` says where they are, `pieces.py` turns them into what the engine is asked and its answer
into edits. `nemodiff_lsp.commands.fill_holes` is the command.
"""

from __future__ import annotations
