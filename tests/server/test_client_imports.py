"""What the engine's client looks for on the disk for each request: nothing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest

from engine.messages.address import EngineAddress
from engine.messages.client import AsyncEngineClient, NoEngineError


async def test_a_request_looks_for_no_module(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    looked_for: list[str] = []

    class Finder:
        """Finds nothing, and takes note of what it is asked for."""

        @staticmethod
        def find_spec(
            name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
        ) -> ModuleSpec | None:
            looked_for.append(name)
            return None

    address = EngineAddress(socket=tmp_path_factory.mktemp("s") / "none.sock")
    async with AsyncEngineClient(address) as client:
        for _ in range(2):
            looked_for.clear()
            monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
            with pytest.raises(NoEngineError):
                await client.health()
            monkeypatch.undo()
    assert looked_for == []
