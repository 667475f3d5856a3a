"""Tests of the cutter of evaluation sets: holes, silent cursors, parsing, the command."""
