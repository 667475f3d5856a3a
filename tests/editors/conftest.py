"""Fixtures of the tests with real editors; the editors themselves are driven by tests/rigs."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "rigs"))
