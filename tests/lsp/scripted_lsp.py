"""`nemodiff lsp` as it is, except that the engines it starts have a ScriptedEngine for a model.

Run by the tests that start many engines, which the real one would make slow.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = ROOT / "tests" / "server" / "serve_stand_in.py"


def main() -> int:
    sys.path[:0] = [str(ROOT)]
    from engine.messages import launch
    from nemodiff_lsp.__main__ import main as serve

    launch._SERVE_COMMAND = (sys.executable, str(STAND_IN), "engine", "serve")
    return serve(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
