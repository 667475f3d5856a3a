"""What may cross the border between the engine process and everybody else.

Plain frozen dataclasses, the engine's address and a thin HTTP client; no torch, no pygls.
"""
