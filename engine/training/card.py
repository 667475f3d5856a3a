"""The model card of a trained adapter: what it is for, from what, by which command, how good."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

CARD_FILE = "README.md"

_PURPOSE = {
    "causal": "Ends a fill-in-the-middle completion where the suffix takes over. Merged into the "
    "base model at load.",
    "draft": "Lets mask tokens draft the tokens that the base model would write next. Active at "
    "mask tokens only: whatever the base model itself says stays as it is.",
    "full": "A whole model converted to block diffusion: causal and masked, same-position logits.",
}


def write_card(
    folder: Path,
    *,
    facts: dict[str, Any],
    command: str,
    num_steps: int,
    num_tokens: int,
    figures: dict[str, float],
    corpus: Path,
) -> None:
    """Write README.md beside the adapter in `folder`."""
    lines = [
        f"# {facts['kind'].capitalize()} training of {facts['model']}",
        "",
        _PURPOSE[facts["kind"]],
        "",
        f"- Base: `{facts['model']}`; {_form(facts)}.",
        f"- Training: {num_steps} steps, {num_tokens} tokens of context and middle, seed "
        f"{facts['seed']}.",
        f"- Command: `{command}`",
        f"- Text: {_corpus_summary(corpus)}",
        "- Licence: that of the base model; the text's licences are in the manifest that the data "
        "command writes.",
        "",
        "Figures on held-out packages when training ended:",
        "",
        *(f"- {name}: {value:.4g}" for name, value in sorted(figures.items())),
    ]
    (folder / CARD_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _form(facts: dict[str, Any]) -> str:
    if "rank" not in facts:
        return "all weights"
    return f"LoRA of rank {facts['rank']} on all linear layers, PEFT layout"


def _corpus_summary(corpus: Path) -> str:
    path = corpus / "manifest.jsonl"
    if not path.is_file():
        return "a corpus without a manifest."
    raw = path.read_bytes()
    try:
        packages = [json.loads(line) for line in raw.decode("utf-8").splitlines() if line.strip()]
        used = [each for each in packages if each.get("split") == "train"]
    except (ValueError, AttributeError):
        return "a corpus whose manifest is damaged."
    licences = Counter(str(each.get("licence")) for each in used)
    named = ", ".join(f"{name} {count}" for name, count in licences.most_common(8))
    return (
        f"{len(used)} permissively licensed packages ({named}); sha256 of the manifest "
        f"{hashlib.sha256(raw).hexdigest()[:16]}..."
    )
