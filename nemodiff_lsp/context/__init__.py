"""Context: what other files of the workspace say that the completed file needs.

`collector.py` is asked by the pipeline; each source beside it gives pieces, best first.
"""
