"""Quality measurement: benchmark rows in, pass@1 and forwards with their uncertainty out.

Used by `engine.cli.evaluate` only. Talks to an engine over its HTTP interface; imports no torch.
"""
