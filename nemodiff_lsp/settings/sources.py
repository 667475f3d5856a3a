"""SettingsSources: the places settings come from, joined into one Settings. Owned by `server.py`.

Later ones win: the user's settings.toml, the opened folder's .nemodiff.toml, the editor's
initializationOptions, its configuration (pushed or pulled), the environment (NEMODIFF_MAX_TOKENS).
Nothing here waits for the editor: the server pulls and hands over what came.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nemodiff_lsp.privacy.regular_file import UnreadableFile, read_regular_file
from nemodiff_lsp.privacy.trust import is_trusted, may_set, stated_trust
from nemodiff_lsp.settings.settings import (
    FIELDS,
    Layer,
    Settings,
    key_of,
    nearest_key,
    read_layer,
    wrong_value,
)
from nemodiff_lsp.settings.values import ValueProblem, spec_of

USER_FILE = "settings.toml"
WORKSPACE_FILE = ".nemodiff.toml"
VARIABLE_PREFIX = "NEMODIFF_"

_MAX_FILE_BYTES = 256 * 1024
# Variables of the engine, the command line and the tests, which are no settings of the server.
_OTHER_VARIABLES = ("CACHE", "RUNTIME_DIR", "STATE_DIR", "TRACEBACK", "ENGINE_TOKEN")
_WORD_BORDER = re.compile("([A-Z])")
_JOINED = ("exclude_patterns",)
"""What keeps files private: another place adds to the list and cannot take away."""


class SettingsSources:
    """All layers of one server. Reads files when `resolve` is called, and only then."""

    def __init__(
        self, *, environment: Mapping[str, str] | None = None, user_file: Path | None = None
    ) -> None:
        self._environment = os.environ if environment is None else environment
        self._user_file = user_file
        self._folders: tuple[Path, ...] = ()
        self._options: object = None
        self._configuration: object = None
        self._stated_trust: bool | None = None
        self._told: frozenset[str] = frozenset()
        self.is_trusted = True
        """Whether the opened folders are trusted; final after each `resolve`."""

    def initialize(self, options: object, folders: Sequence[Path]) -> None:
        """Take the client's initializationOptions and the opened folders."""
        self._options = options
        self._stated_trust = stated_trust(options)
        self._folders = tuple(folders)

    def set_folders(self, folders: Sequence[Path]) -> None:
        """Take other opened folders (workspace/didChangeWorkspaceFolders)."""
        self._folders = tuple(folders)

    def set_configuration(self, values: object) -> None:
        """Take what the client has pushed or answered to a pull; it replaces the one before."""
        self._configuration = values

    def resolve(self) -> tuple[Settings, list[str]]:
        """The settings now, and a sentence for each problem that the last call did not name."""
        user = _file_layer(self._user_file or _default_user_file(), "in your settings.toml")
        options = read_layer(self._options, place="in initializationOptions")
        environment = _environment_layer(self._environment)
        chosen = [layer.values.get("trusted") for layer in (user, options, environment)]
        # One no is enough: a place that asks for caution is not outvoted.
        self.is_trusted = is_trusted(self._stated_trust, False if False in chosen else None)
        configuration = read_layer(self._configuration, place="in the editor's configuration")
        if not self.is_trusted:
            # Editors mix the opened folder's settings into it.
            configuration = _without_machine_keys(configuration, "the editor's configuration")
        editor = Layer(
            {**options.values, **configuration.values}, options.problems + configuration.problems
        )
        layers = [user, *self._workspace_layers(), editor, environment]
        problems = dict.fromkeys(problem for layer in layers for problem in layer.problems)
        news = [problem for problem in problems if problem not in self._told]
        self._told = frozenset(problems)
        return Settings(**_joined(layers)), news

    def _workspace_layers(self) -> Iterator[Layer]:
        for folder in self._folders:
            path = folder / WORKSPACE_FILE
            if self.is_trusted:
                layer = _file_layer(path, f"in the folder's {WORKSPACE_FILE}")
                yield _without_machine_keys(layer, f"the folder's {WORKSPACE_FILE}")
            elif os.path.lexists(path):
                problem = f"NemoDiff does not read {WORKSPACE_FILE}: the folder is not trusted."
                yield Layer({}, (problem,))


def variable_of(name: str) -> str:
    """The environment variable of a field: NEMODIFF_MAX_TOKENS of `max_tokens`."""
    return VARIABLE_PREFIX + name.upper()


def _default_user_file() -> Path:
    # Imported here because it is needed once per start.
    import platformdirs

    return platformdirs.user_config_path("nemodiff", appauthor=False) / USER_FILE


def _file_layer(path: Path, place: str) -> Layer:
    """The layer of a TOML file; a file that is not there is an empty layer."""
    try:
        content = read_regular_file(path, max_bytes=_MAX_FILE_BYTES)
        values = tomllib.loads(content.decode("utf-8-sig")) if content is not None else None
    except (UnreadableFile, ValueError, RecursionError) as error:
        why = str(error) if isinstance(error, UnreadableFile) else "it is not valid TOML"
        where = f", line {found[1]}" if (found := re.search(r"line (\d+)", str(error))) else ""
        problem = f"NemoDiff's settings {place} cannot be read ({why}{where}) and are ignored."
        return Layer({}, (problem,))
    return read_layer(values, place=place)


def _environment_layer(environment: Mapping[str, str]) -> Layer:
    variables = {variable_of(known.name): known for known in FIELDS.values()}
    chosen: dict[str, Any] = {}
    problems: list[str] = []
    for variable, written in environment.items():
        if not variable.startswith(VARIABLE_PREFIX) or not written.strip():
            continue
        known = variables.get(variable)
        if known is not None:
            kind = spec_of(known).kind
            try:
                chosen[known.name] = kind.check(kind.read_text(written))
            except ValueProblem as problem:
                problems.append(wrong_value(key_of(known.name), f"({variable})", problem))
        elif variable.removeprefix(VARIABLE_PREFIX) not in _OTHER_VARIABLES:
            # Most are other people's business; only what looks like a setting is worth a word.
            near = nearest_key(variable.removeprefix(VARIABLE_PREFIX))
            if near is not None:
                meant = variable_of(FIELDS[near].name)
                problems.append(
                    f"The variable {variable} is not known and ignored (did you mean {meant}?)."
                )
    return Layer(chosen, tuple(problems))


def _without_machine_keys(layer: Layer, place: str) -> Layer:
    """The layer without what an opened folder may not set, and a sentence for each."""
    kept: dict[str, Any] = {}
    problems = list(layer.problems)
    for name, value in layer.values.items():
        key = key_of(name)
        if may_set(spec_of(FIELDS[key]).scope, is_from_workspace=True):
            kept[name] = value
        else:
            problems.append(
                f"NemoDiff setting {key!r} is ignored: {place} may not set it here, "
                f"only you can, in your own settings."
            )
    return Layer(kept, tuple(problems))


def _joined(layers: Sequence[Layer]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.values.items():
            before = values.get(name, ()) if name in _JOINED else None
            values[name] = value if before is None else tuple(dict.fromkeys((*before, *value)))
    return values
