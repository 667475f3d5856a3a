"""The training loop: schedule, optimizer, curve, checkpoints; the same for every objective.

A run is its folder: ``state.safetensors`` and ``state.json`` to resume from, ``curve.jsonl`` with a
line per step (also as ``curve.csv`` and ``curve.png``), ``adapter/`` with what the objective
exports. A resumed run takes the same steps as one that was never stopped.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from engine.errors import EngineError
from engine.training.curves import write_curves
from engine.training.objective import Metrics, Objective

STATE_TENSORS, STATE_FILE, CURVE_FILE = "state.safetensors", "state.json", "curve.jsonl"

_STATE_KEY = "state"

Report = Callable[[str], None]


class TrainingError(EngineError):
    """A run that cannot start or go on; one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """steps: length of the schedule (warm-up, then cosine to a tenth). minutes: stop earlier, to be
    resumed (None = never). evaluate_every, in steps (0 = at the end only). AdamW
    (arXiv 1711.05101) with gradient norm clipped at `clip`."""

    steps: int
    learning_rate: float
    warmup_steps: int = 10
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float = 1.0
    minutes: float | None = None
    checkpoint_minutes: float = 4.0
    evaluate_every: int = 0
    seed: int = 0

    def learning_rate_at(self, step: int) -> float:
        """For step 0, 1, ...: linear warm-up, then a cosine down to a tenth."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        span = max(1, self.steps - self.warmup_steps)
        part = min(1.0, (step - self.warmup_steps) / span)
        return self.learning_rate * (0.1 + 0.45 * (1.0 + math.cos(math.pi * part)))


class TrainingRun:
    """One objective trained in one folder.

    Raises TrainingError when the folder holds a run already and `resume` is not set, or when it
    was made with other settings.
    """

    def __init__(
        self,
        objective: Objective,
        settings: RunSettings,
        folder: Path,
        *,
        facts: dict[str, Any],
        resume: bool,
        report: Report,
    ) -> None:
        self._objective, self.settings, self._folder = objective, settings, folder
        # As they will be read back, so that they can be compared.
        self._facts: dict[str, Any] = json.loads(json.dumps(facts))
        self._report = report
        self.export_folder = folder / objective.export_name
        names, leaves = zip(*objective.parameters(), strict=True)
        self._leaves: dict[str, torch.Tensor] = dict(zip(names, leaves, strict=True))
        decayed = [leaf for leaf in leaves if leaf.dim() > 1]
        others = [leaf for leaf in leaves if leaf.dim() <= 1]
        self._optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": settings.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=settings.learning_rate,
            betas=settings.betas,
            fused=True,
        )
        self.step, self.num_tokens, self._seconds = 0, 0, 0.0
        self.figures: Metrics = {}
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / STATE_FILE).exists():
            if not resume:
                raise TrainingError(
                    f"{folder} holds a run already; continue it with --resume or choose another "
                    "--out."
                )
            self._load()
        else:
            torch.manual_seed(settings.seed)
            self._start_curve()

    def run(self) -> bool:
        """Train until the schedule or the time is over; True when the schedule is."""
        started = saved = time.monotonic()
        before = self._seconds
        while self.step < self.settings.steps:
            metrics = self._one_step()
            now = time.monotonic()
            self._seconds = before + now - started
            if self._is_evaluation_step():
                self.figures = self._objective.evaluate()
                metrics |= self.figures
            self._write_curve(metrics)
            limit = self.settings.minutes
            if limit is not None and now - started >= 60 * limit:
                break
            if now - saved >= 60 * self.settings.checkpoint_minutes:
                self.save()
                saved = now
        self.save()
        return self.step >= self.settings.steps

    def save(self) -> None:
        """Checkpoint and export; each file appears by a rename."""
        tensors = {f"weight/{name}": leaf.detach() for name, leaf in self._leaves.items()}
        for name, leaf in self._leaves.items():
            for key, value in self._optimizer.state.get(leaf, {}).items():
                tensors[f"{key}/{name}"] = torch.as_tensor(value)
        body = {
            "step": self.step,
            "num_tokens": self.num_tokens,
            "seconds": round(self._seconds, 1),
            "settings": asdict(self.settings),
            "facts": self._facts,
            "data": self._objective.state(),
            "figures": self.figures,
        }
        weights, text = self._folder / f"{STATE_TENSORS}.tmp", self._folder / f"{STATE_FILE}.tmp"
        stored = {name: each.contiguous().cpu() for name, each in tensors.items()}
        # In both files: a run that is killed between the two renames goes on from the tensors'.
        save_file(stored, weights, metadata={_STATE_KEY: json.dumps(body)})
        text.write_text(json.dumps(body, indent=2), encoding="utf-8")
        os.replace(weights, self._folder / STATE_TENSORS)
        os.replace(text, self._folder / STATE_FILE)
        self._objective.export(self.export_folder)
        self._draw_curves()

    def _draw_curves(self) -> None:
        """A run never ends because its picture cannot be drawn."""
        try:
            write_curves(self._folder)
        except Exception as error:
            self._report(f"The curves were not drawn: {error}")

    def _one_step(self) -> Metrics:
        rate = self.settings.learning_rate_at(self.step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad(set_to_none=True)
        metrics = self._objective.accumulate()
        leaves = [leaf for leaf in self._leaves.values() if leaf.grad is not None]
        norm = float(torch.nn.utils.clip_grad_norm_(leaves, self.settings.clip))
        if not math.isfinite(metrics["loss"]) or not math.isfinite(norm):
            raise TrainingError(
                f"The loss is no longer a number at step {self.step}; lower --learning-rate and "
                "resume from the last checkpoint."
            )
        self._optimizer.step()
        self.step += 1
        self.num_tokens += int(metrics["tokens"])
        return {**metrics, "gradient_norm": norm, "learning_rate": rate}

    def _is_evaluation_step(self) -> bool:
        every = self.settings.evaluate_every
        return self.step == self.settings.steps or bool(every and self.step % every == 0)

    def _load(self) -> None:
        try:
            body, tensors = self._read_state()
            self._check_settings(body)
            self._restore(body, tensors)
        except (
            OSError,
            SafetensorError,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            RuntimeError,
        ):
            raise TrainingError(
                f"The checkpoint in {self._folder} is damaged or not complete; copy it again or "
                "choose another --out."
            ) from None
        self._trim_curve()

    def _read_state(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        with safe_open(self._folder / STATE_TENSORS, framework="pt") as file:
            text = (file.metadata() or {}).get(_STATE_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        if text is None:
            text = (self._folder / STATE_FILE).read_text(encoding="utf-8")
        body: dict[str, Any] = json.loads(text)
        return body, tensors

    def _check_settings(self, body: dict[str, Any]) -> None:
        found = body["facts"]
        # A fact that an older run did not note cannot be compared.
        is_same = all(found.get(name, mine) == mine for name, mine in self._facts.items())
        for name, is_right in (
            ("facts", is_same),
            ("steps", body["settings"]["steps"] == self.settings.steps),
        ):
            if not is_right:
                raise TrainingError(
                    f"{self._folder} was made with other settings ({name}); choose another --out."
                )

    def _restore(self, body: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, leaf in self._leaves.items():
                leaf.copy_(tensors[f"weight/{name}"])
                state = {
                    key.partition("/")[0]: value.to(leaf.device)
                    for key, value in tensors.items()
                    if key.partition("/")[2] == name and not key.startswith("weight/")
                }
                if state:
                    self._optimizer.state[leaf] = state
        self.step, self.num_tokens = body["step"], body["num_tokens"]
        self._seconds = body["seconds"]
        self.figures = body.get("figures", {})
        self._objective.restore(body["data"])

    def _start_curve(self) -> None:
        (self._folder / CURVE_FILE).write_text("", encoding="utf-8")

    def _trim_curve(self) -> None:
        """Drop the lines behind the checkpoint: those steps are taken again."""
        path = self._folder / CURVE_FILE
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in lines if _step_of(line) <= self.step]
        path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def _write_curve(self, metrics: Metrics) -> None:
        line = {
            "step": self.step,
            "num_tokens": self.num_tokens,
            "seconds": round(self._seconds, 1),
            **{name: float(f"{value:.6g}") for name, value in metrics.items()},
        }
        with (self._folder / CURVE_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        shown = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        self._report(f"step {self.step} of {self.settings.steps}: {shown}")


def _step_of(line: str) -> float:
    """Of a line of the curve; one that was cut short when the run was killed is behind all."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, LookupError, TypeError):
        return math.inf
