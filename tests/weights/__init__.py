"""Tests of `engine.weights`: checkpoints, adapters, GGUF import, store, sources, command."""
