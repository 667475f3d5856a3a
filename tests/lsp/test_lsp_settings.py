"""Settings: every place they come from, what a strange folder may not set, the written table."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.messages.completion import CompletionRequest, FieldError
from nemodiff_lsp.settings.settings import FIELDS, Settings, key_of, parse_settings
from nemodiff_lsp.settings.sources import SettingsSources, variable_of
from nemodiff_lsp.settings.table import main, schema, table, with_table
from nemodiff_lsp.settings.values import spec_of

ROOT = Path(__file__).parent.parent.parent
MACHINE_KEYS = ("model", "engineSocket", "engineUrl", "engineTokenFile", "trusted")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


def sources(
    tmp_path: Path,
    *,
    user: str | None = None,
    folder: str | None = None,
    options: object = None,
    environment: dict[str, str] | None = None,
) -> SettingsSources:
    (tmp_path / "folder").mkdir(exist_ok=True)
    if user is not None:
        (tmp_path / "settings.toml").write_text(user, encoding="utf-8")
    if folder is not None:
        (tmp_path / "folder" / ".nemodiff.toml").write_text(folder, encoding="utf-8")
    found = SettingsSources(environment=environment or {}, user_file=tmp_path / "settings.toml")
    found.initialize(options, [tmp_path / "folder"])
    return found


def test_every_default_passes_its_own_check() -> None:
    for key, known in FIELDS.items():
        if known.default is not None:
            assert spec_of(known).kind.check(known.default) == known.default, key
    assert [key_of(known.name) for known in fields(Settings)] == list(FIELDS)
    with pytest.raises(FrozenInstanceError):
        Settings().enabled = False  # type: ignore[misc]


@pytest.mark.parametrize(
    ("key", "field"),
    [
        ("maxTokens", "max_tokens"),
        ("numAlternatives", "n"),
        ("deadlineMs", "deadline_ms"),
        ("invokedDeadlineMs", "deadline_ms"),
        ("blockSize", "block_size"),
        ("confidenceThreshold", "confidence_threshold"),
        ("maxDenoisingSteps", "max_denoising_steps"),
        ("temperature", "temperature"),
        ("seed", "seed"),
    ],
)
def test_bounds_are_those_of_the_engine(key: str, field: str) -> None:
    """What the table promises is what a request may hold, no less and no more."""
    facts = spec_of(FIELDS[key]).kind.schema
    step = 1 if facts["type"] == "integer" else 0.01
    for value in (facts["minimum"], facts["maximum"]):
        assert parse_settings({key: value})[1] == []
        CompletionRequest.from_json({"prompt": "", field: value})
    for value in (facts["minimum"] - step, facts["maximum"] + step):
        assert len(parse_settings({key: value})[1]) == 1
        with pytest.raises(FieldError):
            CompletionRequest.from_json({"prompt": "", field: value})


@given(st.dictionaries(st.sampled_from([*FIELDS, "maxToken", "", "x"]), JSON) | JSON)
def test_whatever_comes_the_result_is_usable_and_each_problem_named(values: Any) -> None:
    settings, problems = parse_settings(values)
    given_keys = values.get("nemodiff", values) if isinstance(values, dict) else {}
    for key, known in FIELDS.items():
        value = getattr(settings, known.name)
        if value != known.default:
            assert spec_of(known).kind.check(value) == value
        wanted = given_keys.get(key) if isinstance(given_keys, dict) else None
        is_taken = wanted is None or repr(key) not in " ".join(problems)
        is_list = isinstance(wanted, list)
        assert not is_taken or wanted is None or is_list or value == wanted
    assert all("\n" not in problem and problem.endswith(".") for problem in problems)


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("max_tokens", "maxTokens"),
        ("maxtoken", "maxTokens"),
        ("tempreature", "temperature"),
        ("excludePattern", "excludePatterns"),
        ("engine-url", "engineUrl"),
    ],
)
def test_a_near_miss_is_explained(key: str, meant: str) -> None:
    settings, problems = parse_settings({key: 1})
    assert settings == Settings()
    assert problems == [
        f"NemoDiff setting {key!r} is not known and ignored (did you mean {meant!r}?)."
    ]
    assert "did you mean" not in parse_settings({"colour": 1})[1][0]


@pytest.mark.parametrize("value", [True, "64", 1.5, 0, 10**400, math.nan, [], {}])
def test_a_wrong_value_is_named_and_never_repeated(value: object) -> None:
    settings, (problem,) = parse_settings({"maxTokens": value})
    assert settings.max_tokens == 64
    assert problem == (
        "NemoDiff setting 'maxTokens' must be a whole number between 1 and 4096; "
        "it is ignored (default: 64)."
    )


def test_what_other_servers_clients_send_is_no_mistake() -> None:
    options = {"editorInfo": {"name": "x"}, "editorPluginInfo": {}, "isTrusted": True}
    assert parse_settings(options) == (Settings(), [])


def test_later_places_win(tmp_path: Path) -> None:
    layers = sources(
        tmp_path,
        user="maxTokens = 1\nseed = 1\nmode = 'ar'\nnumAlternatives = 1\ntemperature = 0.1\n",
        folder="[nemodiff]\nmaxTokens = 2\nseed = 2\nmode = 'diffusion'\nnumAlternatives = 2\n",
        options={"maxTokens": 3, "seed": 3, "mode": "linear_spec"},
        environment={"NEMODIFF_MAX_TOKENS": "5", "NEMODIFF_CACHE": "/x", "HOME": "/h"},
    )
    layers.set_configuration({"nemodiff": {"maxTokens": 4, "seed": 4}})
    settings, problems = layers.resolve()
    assert problems == []
    assert (settings.max_tokens, settings.seed, settings.mode) == (5, 4, "linear_spec")
    assert (settings.num_alternatives, settings.temperature) == (2, 0.1)
    layers.set_configuration({"seed": 9})
    settings, _ = layers.resolve()
    assert (settings.max_tokens, settings.seed) == (5, 9), "a pulled answer has no section"
    layers.set_configuration(None)
    assert layers.resolve()[0].seed == 3


def test_patterns_of_all_places_are_joined(tmp_path: Path) -> None:
    layers = sources(
        tmp_path,
        user="excludePatterns = ['a']\n",
        folder="excludePatterns = ['b']\n",
        options={"excludePatterns": ["c", "a"]},
        environment={"NEMODIFF_EXCLUDE_PATTERNS": "d, e"},
    )
    assert layers.resolve()[0].exclude_patterns == ("a", "b", "c", "d", "e")


@pytest.mark.parametrize("options", [None, {}, {"isTrusted": True}])
def test_the_folders_file_never_sets_what_is_yours(tmp_path: Path, options: object) -> None:
    folder = "".join(f'{key} = "https://evil.example"\n' for key in MACHINE_KEYS[:-1])
    layers = sources(tmp_path, folder=f"{folder}trusted = true\nmaxTokens = 7\n", options=options)
    settings, problems = layers.resolve()
    assert settings == Settings(max_tokens=7)
    assert len(problems) == len(MACHINE_KEYS)
    assert all(any(repr(key) in problem for problem in problems) for key in MACHINE_KEYS)
    assert "evil" not in " ".join(problems)


@pytest.mark.parametrize("no", [False, "yes", 0])
def test_an_untrusted_folder_has_no_say(tmp_path: Path, no: object) -> None:
    layers = sources(
        tmp_path,
        user='model = "mine"\n',
        folder="maxTokens = 7\n",
        options={"isTrusted": no, "engineSocket": "/run/mine"},
        environment={"NEMODIFF_ENGINE_TOKEN_FILE": "/mine"},
    )
    layers.set_configuration({"engineUrl": "https://evil.example", "model": "theirs", "seed": 1})
    settings, problems = layers.resolve()
    assert not layers.is_trusted
    assert (settings.max_tokens, settings.engine_url, settings.seed) == (64, None, 1)
    assert (settings.model, settings.engine_socket) == ("mine", "/run/mine")
    assert settings.engine_token_file == "/mine"
    assert len(problems) == 3
    assert any("not trusted" in problem for problem in problems)


def test_the_user_may_distrust_what_the_editor_trusts(tmp_path: Path) -> None:
    layers = sources(tmp_path, user="trusted = false\n", folder="maxTokens = 7\n", options={})
    layers.initialize({"isTrusted": True}, [tmp_path / "folder"])
    assert layers.resolve()[0].max_tokens == 64
    assert not layers.is_trusted
    layers = sources(tmp_path, options={"isTrusted": False, "trusted": True})
    layers.resolve()
    assert not layers.is_trusted


def test_a_problem_is_told_once_until_it_has_gone(tmp_path: Path) -> None:
    layers = sources(tmp_path, options={"maxTokens": 0})
    assert len(layers.resolve()[1]) == 1
    assert layers.resolve()[1] == []
    layers.set_configuration({"seed": "x"})
    assert ["'seed'" in problem for problem in layers.resolve()[1]] == [True]
    layers.set_configuration({})
    assert layers.resolve()[1] == []
    layers.set_configuration({"seed": "x"})
    assert len(layers.resolve()[1]) == 1


@pytest.mark.parametrize(
    "content", [b"maxTokens = ", b"\xff\xfe", b"= 3", b"x = 1\n" * 60_000], ids=str
)
def test_a_broken_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "settings.toml").write_bytes(content)
    settings, problems = sources(tmp_path).resolve()
    assert settings == Settings()
    assert len(problems) == 1
    assert "in your settings.toml cannot be read" in problems[0]


def test_a_settings_file_that_is_a_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").mkdir()
    settings, problems = sources(tmp_path).resolve()
    assert settings == Settings()
    assert "not a regular file" in problems[0]


@pytest.mark.parametrize(
    ("name", "written", "value"),
    [
        ("enabled", "off", False),
        ("reuse", "1", True),
        ("max_tokens", " 32 ", 32),
        ("deadline_ms", "250", 250.0),
        ("multiline", "never", "never"),
        ("disabled_languages", "lua, go", ("lua", "go")),
        ("exclude_patterns", '["a, b"]', ("a, b",)),
        ("model", "m", "m"),
    ],
)
def test_variables(tmp_path: Path, name: str, written: str, value: object) -> None:
    layers = sources(tmp_path, environment={variable_of(name): written})
    settings, problems = layers.resolve()
    assert problems == []
    assert getattr(settings, name) == value


def test_wrong_variables_are_named(tmp_path: Path) -> None:
    environment = {
        "NEMODIFF_MAX_TOKENS": "many",
        "NEMODIFF_ENABLED": "perhaps",
        "NEMODIFF_MAX_TOKEN": "3",
        "NEMODIFF_EXCLUDE_PATTERNS": "[",
        "NEMODIFF_SOMETHING_ELSE_ENTIRELY": "1",
        "NEMODIFF_SEED": "",
    }
    settings, problems = sources(tmp_path, environment=environment).resolve()
    assert settings == Settings()
    assert len(problems) == 4
    assert sum("(NEMODIFF_MAX_TOKENS) must be a whole number" in each for each in problems) == 1
    assert sum("did you mean NEMODIFF_MAX_TOKENS?" in each for each in problems) == 1


def test_languages() -> None:
    assert Settings().is_enabled_for("lua")
    assert not Settings(disabled_languages=("lua",)).is_enabled_for("lua")
    assert Settings(enabled_languages=("lua",)).is_enabled_for("lua")
    assert not Settings(enabled_languages=("lua",)).is_enabled_for(None)
    assert not Settings(enabled=False).is_enabled_for("lua")


def test_the_written_table_is_up_to_date(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert with_table(written) == written, (
        "run: python -m nemodiff_lsp.settings.table docs/settings.md"
    )
    assert all(f"| `{key}` |" in table() for key in FIELDS)
    copy = tmp_path / "copy.md"
    copy.write_text("a\n<!-- settings: x -->\nold\n<!-- /settings -->\nb\n", encoding="utf-8")
    assert main([str(copy)]) == 0
    assert copy.read_text() == f"a\n<!-- settings: x -->\n{table()}<!-- /settings -->\nb\n"
    assert main([str(tmp_path / "none.md")]) == 1
    assert main(["--json"]) == 0
    assert json.loads(capsys.readouterr().out) == schema()


def test_the_schema_says_what_the_user_alone_may_set() -> None:
    properties = schema()["properties"]
    assert list(properties) == list(FIELDS)
    scopes = {key for key in properties if properties[key]["x-scope"] == "machine"}
    assert scopes == set(MACHINE_KEYS)
