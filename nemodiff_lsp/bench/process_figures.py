"""What the system counts of another process: memory and processor time. Used by the benches."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

_RESIDENT = re.compile(r"^VmRSS:\s*(\d+) kB", re.MULTILINE)


def resident_mib(pid: int) -> float | None:
    """Resident memory of process `pid` in MiB; None when it is gone or cannot be looked at."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return None if Path("/proc").is_dir() else _as_ps_says(pid)
    except OSError:
        return None
    found = _RESIDENT.search(status)
    return int(found.group(1)) / 1024.0 if found else None


def _as_ps_says(pid: int) -> float | None:
    """For systems without /proc."""
    command = ["ps", "-o", "rss=", "-p", str(pid)]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = run.stdout.split()
    return int(words[0]) / 1024.0 if words and words[0].isdigit() else None


def processor_s(pid: int) -> float | None:
    """Processor time that process `pid` has used, in seconds; None where /proc does not tell it.

    Unlike time on the clock it is hardly longer on a busy machine.
    """
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    # The name in brackets may hold anything; user and system time are fields 14 and 15.
    fields = status.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
