"""Slow fp32 references of the network and of every decoding mode, for the tests to compare with.

Written from the published descriptions only; nothing here is shared with the engine.
"""
