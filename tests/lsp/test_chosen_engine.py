"""Which engine the settings choose, and that the command line goes before them."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.messages.address import AddressError
from nemodiff_lsp.link.engine_options import EngineChoice, resolve
from nemodiff_lsp.settings.configuration import chosen_engine
from nemodiff_lsp.settings.settings import Settings


@pytest.fixture(autouse=True)
def _runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEMODIFF_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.delenv("NEMODIFF_ENGINE_TOKEN", raising=False)


def test_a_socket_of_the_settings_takes_the_place_of_the_users_own(tmp_path: Path) -> None:
    socket = tmp_path / "other.sock"
    chosen = chosen_engine(Settings(engine_socket=str(socket)), resolve(EngineChoice()))
    assert chosen.address.socket == socket and chosen.may_start


def test_what_the_command_line_names_goes_before_the_settings(tmp_path: Path) -> None:
    named = resolve(EngineChoice(socket=str(tmp_path / "named.sock")))
    settings = Settings(engine_socket=str(tmp_path / "other.sock"))
    assert chosen_engine(settings, named) == named


def test_an_engine_elsewhere_gets_its_token_and_is_never_started(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("sesame-sesame-sesame\n")
    token.chmod(0o600)
    settings = Settings(engine_url="https://engine.example", engine_token_file=str(token))
    chosen = chosen_engine(settings, resolve(EngineChoice()))
    assert chosen.address.token == "sesame-sesame-sesame" and not chosen.may_start


def test_a_token_file_that_is_missing_is_named(tmp_path: Path) -> None:
    settings = Settings(engine_url="https://engine.example", engine_token_file="/nowhere/token")
    with pytest.raises(AddressError, match="/nowhere/token"):
        chosen_engine(settings, resolve(EngineChoice()))


def test_a_named_engine_needs_no_runtime_folder(tmp_path: Path) -> None:
    named = resolve(EngineChoice(url="https://engine.example"))
    assert chosen_engine(Settings(), named) == named
    assert not (tmp_path / "run").exists()


def test_the_model_of_the_settings_is_for_an_engine_that_is_started(tmp_path: Path) -> None:
    usual = resolve(EngineChoice())
    assert "--model=big" in chosen_engine(Settings(model="big"), usual).arguments
    named = resolve(EngineChoice(model="small"))
    assert chosen_engine(Settings(model="big"), named).arguments == named.arguments
