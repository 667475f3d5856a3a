"""Benchmark tasks of our own making, in the forms of HumanEval and MBPP."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

# In the form of HumanEval, but of our own making.
CLOSEST = {
    "task_id": "Own/0",
    "prompt": "from typing import List\n\n\ndef closest_pair(heights: List[float]) -> float:\n"
    '    """Give the smallest distance between any two of the heights, in metres.\n'
    '    >>> closest_pair([1.0, 2.5, 3.0])\n    0.5\n    """\n',
    "canonical_solution": "    ordered = sorted(heights)\n    smallest = ordered[1] - ordered[0]\n"
    "    for lower, upper in zip(ordered, ordered[1:]):\n"
    "        smallest = min(smallest, upper - lower)\n    return smallest\n",
}
# A solution without a word of its own.
PLAIN = {
    "task_id": "Own/1",
    "prompt": 'def largest_gap(l: list) -> int:\n    """Where the list has its widest gap."""\n',
    "canonical_solution": "    x = 0\n    for i in range(len(l)):\n"
    "        for j in range(len(l)):\n            if l[i] - l[j] > x:\n"
    "                x = l[i] - l[j]\n    return x\n",
}
HOLE = {
    "task_id": "Hole/0",
    "prompt": "def merge_intervals(intervals):\n    merged = []\n    for interval in intervals:\n",
    "canonical_solution": "        if merged and merged[-1].end >= interval.start:\n",
    "suffix": "            merged[-1] = merged[-1].joined(interval)\n    return merged\n",
}
MBPP = {
    "task_id": 7,
    "text": "Write a function to find the characters that occur exactly once in a sentence",
    "code": "def lonely_characters(sentence):\n    counts = Counter(sentence)\n"
    "    return [letter for letter in sentence if counts[letter] == 1]\n",
}


def write_rows(path: Path, rows: list[dict[str, object]]) -> Path:
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path
