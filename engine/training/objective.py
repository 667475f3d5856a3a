"""What every training objective offers the loop, and the packing of examples into rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from engine.training.rows import CLEAN, Rows

Metrics = dict[str, float]


class Objective(Protocol):
    """A model part under training, its data, and its loss. export_name: the folder of the result
    inside the run's."""

    export_name: str

    def parameters(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Named fp32 leaves."""
        ...

    def accumulate(self) -> Metrics:
        """Take the next batch and add its gradients; `loss` and `tokens` are among the metrics."""
        ...

    def evaluate(self) -> Metrics:
        """Figures on held-out text, without gradients."""
        ...

    def state(self) -> dict[str, Any]:
        """JSON values from which `restore` continues the data where it stands."""
        ...

    def restore(self, state: dict[str, Any]) -> None: ...

    def export(self, folder: Path) -> None:
        """Write what was trained so that the engine can load it."""
        ...


class TokenStream(Protocol):
    """Where clean token sequences come from; `cursor` (JSON values) says how far it is read."""

    cursor: tuple[int, int]

    def next_tokens(self) -> list[int]: ...


def clean_rows(
    sequences: Sequence[Sequence[int]], device: torch.device, *, starts: Sequence[int] | None = None
) -> Rows:
    """Causal rows, document i holding `sequences[i]`, at positions from ``starts[i]`` (0) on."""
    starts = starts or [0] * len(sequences)
    ids = [token for tokens in sequences for token in tokens]
    positions = [
        start + at
        for tokens, start in zip(sequences, starts, strict=True)
        for at in range(len(tokens))
    ]
    documents = [number for number, tokens in enumerate(sequences) for _ in tokens]
    place = torch.tensor(positions)
    return Rows(
        torch.tensor(ids),
        place,
        torch.tensor(documents),
        torch.full((len(ids),), CLEAN),
        place + 1,
        torch.zeros(len(ids), dtype=torch.int64),
    ).to(device)
