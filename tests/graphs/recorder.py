"""A backend that writes down what it is asked to do, and passes that are run by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from engine.decoding.forward import Forward
from engine.graphs.backends import EagerBackend
from engine.graphs.ops import Ops
from engine.graphs.runner import GraphRunner
from engine.kv_cache import KVCache
from engine.models.decoder import Decoder
from tests.graphs.harness import VIEWS, runner_of

HOST = torch.device("cpu")


class Recorder(EagerBackend):
    """Writes down what it is asked to do. With `fails`, capturing raises it."""

    def __init__(self, fails: Exception | None = None) -> None:
        super().__init__(HOST)
        self.done: list[str] = []
        self.uploads: list[torch.Tensor] = []
        self._fails = fails

    def upload(self, host: torch.Tensor, device: torch.Tensor) -> None:
        self.done.append("upload")
        self.uploads.append(host.clone())
        super().upload(host, device)

    def capture(self, compute: Callable[[], None]) -> Callable[[], None]:
        self.done.append("capture")
        if self._fails is not None:
            raise self._fails
        compute()

        def replay() -> None:
            self.done.append("replay")
            compute()

        return replay

    def download(self, device: torch.Tensor, host: torch.Tensor) -> None:
        self.done.append("download")
        super().download(device, host)


def made(decoder: Decoder, **options: Any) -> tuple[GraphRunner, Recorder]:
    recorder = Recorder()
    options = {"num_positions": decoder.config.max_positions, **options}
    return runner_of(decoder, Ops(), recorder, **options), recorder


def causal(decoder: Decoder, T: int, R: int = 1) -> Forward:
    return VIEWS["causal"](decoder, R, T)


def ran(runner: GraphRunner, forward: Forward, cache: KVCache) -> torch.Tensor:
    """The logits of the first row."""
    found = runner.run(forward, cache)
    assert found is not None, runner.problem
    return found.logits(slice(None))
