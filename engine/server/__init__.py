"""The engine as a process: one thread that owns the model, and the HTTP interface before it.

`serve.py` starts both; `app.py` is the interface; `engine_thread.py` the queue and the thread.
"""
