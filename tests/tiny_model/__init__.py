"""The tiny trained model of the test suite: its language, its training and its checkpoint.

Tests import `language` for documents and holes and read the folder `CHECKPOINT`; `train` is run
by hand when the checkpoint has to be made again.
"""

from __future__ import annotations

from pathlib import Path

CHECKPOINT = Path(__file__).parent / "checkpoint"
"""A folder in the layout of nvidia/Nemotron-Labs-Diffusion-*, drafting LoRA included."""
