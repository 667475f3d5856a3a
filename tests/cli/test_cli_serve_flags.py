"""The flags of `nemodiff engine serve` and the EngineConfig that they stand for."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from engine.cli.serve import add_parser, engine_arguments, engine_config
from engine.config import EngineConfig


def parse(*flags: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    return parser.parse_args(["engine", "serve", *flags])


@pytest.mark.parametrize(
    ("flags", "wishes"),
    [
        ((), {}),
        (("--draft-adapter", "none"), {"draft_adapter": "none"}),
        (("--causal-adapter=none",), {"causal_adapter": "none"}),
        (("--draft-adapter", "a/b"), {"draft_adapter": Path("a/b").absolute()}),
        # A folder that bears the word is named by a path.
        (("--causal-adapter", "./none"), {"causal_adapter": Path("none").absolute()}),
        (("--threads", "3", "--offline"), {"num_threads": 3, "offline": True}),
    ],
)
def test_flags_are_the_config_and_survive_another_process(
    flags: tuple[str, ...], wishes: dict[str, Any]
) -> None:
    args = parse(*flags)
    config = engine_config(args)
    assert config == EngineConfig(**wishes)
    again = engine_config(parse(*engine_arguments(args)))
    assert again == config
