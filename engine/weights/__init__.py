"""Where weights come from and how they are read: catalogue, downloads, store, checkpoints.

`engine.weights.resolve` turns what a user names into a folder; `engine.weights.checkpoint` and
`engine.weights.adapters` read such a folder. Nothing in here knows how a model computes.
"""
