"""Names and labels of the commands whose modules are imported only when they are called.

Announced by `commands.py` and `code_actions.py` long before.
"""

from __future__ import annotations

FILL_HOLES = "nemodiff.fillHoles"
FILL_HOLES_LABEL = "Fill holes (NemoDiff)"
REPAIR_RANGE = "nemodiff.repairRange"
REPAIR_RANGE_LABEL = "Repair selection (NemoDiff)"
