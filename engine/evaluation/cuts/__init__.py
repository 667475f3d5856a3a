"""Evaluation sets cut from source files: holes to fill and cursors at which to stay silent.

Used by `engine.cli.eval_cut`; `parsing` by the metrics as well. Needs tree-sitter, the optional
extra ``eval``; imports it when it is used and no torch ever.
"""
