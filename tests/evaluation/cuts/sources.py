"""One small file of each language, with at least one cut of every kind, and documents of them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from engine.training.corpus.shards import Document

PYTHON = '''"""Licence and purpose of the module, which nobody should be asked to guess.

It holds an inventory: what is on the shelves and how much of it there is.
"""

import json


class Inventory:
    """Counts of things."""

    def __init__(self, path, limit=1000, retries=25):
        self.path = path
        self.counts = json.loads(path.read_text())
        self.limit = min(limit, retries)

    def add(self, name, amount):
        """Put more of a thing on the shelf."""
        # Negative amounts would hide a mistake of the caller.
        if amount < 0:
            raise ValueError("amount must not be negative")
        total = self.counts.get(name, 0) + amount
        self.counts[name] = min(total, self.limit)
        return self.counts[name]

    def report(self, stream):
        for name, count in sorted(self.counts.items()):
            stream.write(f"{name}: {count}")
            stream.flush()
        stream.close()
'''

_BRACES_BODY = {
    "javascript": """// An inventory: what is on the shelves and how much of it there is.
import { readFileSync } from "node:fs";

const padding = "so that a prompt is long enough to tell what is going on in this file";

export class Inventory {
  constructor(path, limit = 1000) {
    this.path = path;
    this.counts = JSON.parse(readFileSync(path, "utf-8"));
    this.limit = Math.min(limit, 2500);
  }

  add(name, amount) {
    // Negative amounts would hide a mistake of the caller.
    if (amount < 0) {
      throw new RangeError("amount must not be negative");
    }
    const total = this.counts.get(name) + amount;
    this.counts.set(name, Math.min(total, this.limit));
    return this.counts.get(name);
  }
}

export function report(inventory, stream) {
  for (const name of inventory.names()) {
    stream.write(format(name, 10, "pieces"));
    stream.flush();
  }
  stream.close();
}
""",
    "typescript": """// An inventory: what is on the shelves and how much of it there is.
import { readFileSync } from "node:fs";

const padding = "so that a prompt is long enough to tell what is going on in this file";

export class Inventory {
  private counts: Map<string, number>;

  constructor(private path: string, private limit: number = 1000) {
    this.counts = parseCounts(readFileSync(path, "utf-8"));
    this.limit = Math.min(limit, 2500);
  }

  add(name: string, amount: number): number | undefined {
    // Amounts below zero would hide a mistake of the caller.
    if (amount < 0) {
      throw new RangeError("amount must not be negative");
    }
    const total: number = (this.counts.get(name) ?? 0) + amount;
    this.counts.set(name, Math.min(total, this.limit));
    return this.counts.get(name);
  }
}

export function report(inventory: Inventory, stream: Stream): void {
  for (const name of inventory.names()) {
    stream.write(format(name, 10, "pieces"));
    stream.flush();
  }
  stream.close();
}
""",
    "rust": """//! An inventory: what is on the shelves and how much of it there is.
use std::collections::HashMap;

pub const PADDING: &str = "so that a prompt is long enough to tell what is going on in this file";

pub struct Inventory {
    counts: HashMap<String, u64>,
    limit: u64,
}

impl Inventory {
    pub fn new(path: &Path) -> Result<Self, Error> {
        let counts = parse_counts(&read_to_string(path)?);
        let limit = counts.len().max(2500);
        Ok(Self { counts, limit: limit.min(1000) })
    }

    pub fn add(&mut self, name: &str, amount: u64) -> u64 {
        // Larger amounts would hide a mistake of the caller.
        if amount > self.limit {
            panic!("amount must not be that large");
        }
        let total = self.counts.get(name).unwrap_or(&0) + amount;
        self.counts.insert(name.to_string(), total.min(self.limit));
        total.min(self.limit)
    }
}

pub fn report(inventory: &Inventory, stream: &mut Stream) {
    for name in inventory.names() {
        stream.write(format(name, 10, "pieces"));
        stream.flush();
    }
    stream.close();
}
""",
    "go": """// Package inventory: what is on the shelves and how much of it there is.
package inventory

import "encoding/json"

const padding = "so that a prompt is long enough to tell what is going on in this file"

type Inventory struct {
\tcounts map[string]int
\tlimit  int
}

func Open(path string, limit int) (*Inventory, error) {
\tcounts, err := parseCounts(readFile(path))
\tif err != nil {
\t\treturn nil, fmt.Errorf("cannot read the counts")
\t}
\tinventory := &Inventory{counts: counts, limit: min(limit, 2500)}
\treturn inventory, nil
}

func (i *Inventory) Add(name string, amount int) int {
\t// Negative amounts would hide a mistake of the caller.
\tif amount < 0 {
\t\tpanic("amount must not be negative")
\t}
\ttotal := i.counts[name] + amount
\ti.counts[name] = min(total, i.limit)
\treturn i.counts[name]
}

func Report(inventory *Inventory, stream *Stream) {
\tfor _, name := range inventory.Names() {
\t\tstream.Write(format(name, 10, "pieces"))
\t\tstream.Flush()
\t}
\tstream.Close()
}
""",
}

SOURCES = {"python": PYTHON, **_BRACES_BODY}
_ENDINGS = {
    "python": ".py",
    "javascript": ".js",
    "typescript": ".ts",
    "rust": ".rs",
    "go": ".go",
}


def document(language: str, *, package: str = "shelf", number: int = 0, text: str = "") -> Document:
    """A document of the language's source; `number` makes its path and names differ."""
    text = text or SOURCES[language].replace("nventory", f"nventory{number or ''}")
    path = f"src/inventory{number}{_ENDINGS[language]}"
    return Document("pypi", package, "1.0", path, language, text)


def documents(num_packages: int = 2, num_files: int = 3) -> list[Document]:
    """Files of every language in every package, all a little different."""
    return [
        document(language, package=f"package-{package}", number=10 * package + number)
        for package in range(num_packages)
        for number in range(num_files)
        for language in SOURCES
    ]


def write_heldout(corpus: Path, files: Iterable[Document]) -> None:
    """The held-out split of a corpus folder."""
    (corpus / "heldout").mkdir(parents=True)
    lines = "".join(json.dumps(asdict(each)) + "\n" for each in files)
    path = corpus / "heldout" / "shard-00000.jsonl.gz"
    path.write_bytes(gzip.compress(lines.encode("utf-8")))
