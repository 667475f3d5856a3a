"""Training text: from package registries to shards of documents that the trainer can read.

`build.py` is the whole way of a package; everything that comes from outside is read as data, in
memory, and never installed, imported or run.
"""
