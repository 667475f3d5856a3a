"""Peers: other programs that run the same model, timed in the same rounds.

A peer that cannot be had is no error: the report says why it is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from engine.bench.subject import Subject
from engine.bench.timing import Sample
from engine.errors import EngineError

Sampler = Callable[[int], Sample]


class Peer(Protocol):
    """Each method returns what times one call, or None where the peer has nothing to set against.

    forward: a causal pass over `block` tokens behind `cached` ones, logits of all. prefill:
    `length` tokens from nothing, logits of the last. completion: greedy, ``counts[i]`` tokens
    behind ``prompts[i]``, of which all but the last token are known already if `is_warm`; the
    prompt is that of the round.
    """

    name: str

    def forward(self, block: int, cached: int) -> Sampler | None: ...

    def prefill(self, length: int) -> Sampler | None: ...

    def completion(
        self, prompts: Sequence[Sequence[int]], counts: Sequence[int], *, is_warm: bool
    ) -> Sampler | None: ...

    def close(self) -> None:
        """End what belongs to it."""


@dataclass(frozen=True, slots=True)
class PeerChoice:
    """use_transformers: if it can be imported. llama_python: an interpreter that has
    llama-cpp-python; gguf_files: the base in GGUF, a peer for each. num_threads: of llama.cpp,
    None = as many as the path with the most of them has."""

    use_transformers: bool = True
    llama_python: Path | None = None
    gguf_files: tuple[Path, ...] = ()
    num_threads: int | None = None


class PeerMissing(EngineError):
    """Why a peer cannot be had; one sentence."""


def open_peers(
    choice: PeerChoice, subjects: Sequence[Subject]
) -> tuple[list[Peer], dict[str, str]]:
    """The peers there are for the model of `subjects`, and one sentence about each possible one."""
    from engine.bench.llama_peer import LlamaPeer, llama_name
    from engine.bench.transformers_peer import NAME, TransformersPeer

    peers: list[Peer] = []
    told: dict[str, str] = {}

    def add(name: str, make: Callable[[], Peer]) -> None:
        try:
            peers.append(make())
            told[name] = "measured in the same rounds."
        except PeerMissing as missing:
            told[name] = str(missing)

    if choice.use_transformers:
        add(NAME, lambda: TransformersPeer(subjects[0]))
    else:
        told[NAME] = "left out: not asked for."
    if choice.llama_python is None or not choice.gguf_files:
        told["llama.cpp"] = "left out: give --llama-python and --gguf to have it."
        return peers, told
    threads = choice.num_threads or max(subject.num_threads for subject in subjects)
    for file in choice.gguf_files:
        add(llama_name(file, choice.gguf_files), lambda file=file: LlamaPeer(choice, file, threads))  # type: ignore[misc]
    return peers, told
