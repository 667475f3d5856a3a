"""Training: corpora, objectives and the loop that makes adapters and converted models.

Used by `engine.cli.train` only, never imported by the server.
"""
