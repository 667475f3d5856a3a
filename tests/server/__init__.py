"""Tests of the engine process: HTTP interface, queue, cancellation, start and stop."""
