"""Ignore files: the same files are hidden as git hides, and what is broken hides everything."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nemodiff_lsp.privacy.ignore import parse_rules
from nemodiff_lsp.privacy.policy import FilePolicy
from nemodiff_lsp.settings.settings import Settings

NAMES = st.sampled_from(["a", "b", "ab", "a.b", "log", "x y", "#a", "!b", "A", "é"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
PIECES = st.sampled_from(
    ["a", "b", "*", "**", "?", "/", "!", ".", "log", "#", "\\", "[ab]", "[!a]", "[a-c]", " ", "é"]
)
LINES = st.lists(PIECES, min_size=1, max_size=6).map("".join)
IGNORE_FILES = st.dictionaries(
    st.sampled_from(["", "a", "a/b", "log"]), st.lists(LINES, max_size=5), min_size=1, max_size=3
)


@pytest.fixture(scope="session", autouse=True)
def _own_git_configuration() -> object:
    """No rule of the machine's user may reach the tests."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as home:
        patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        patch.setenv("XDG_CONFIG_HOME", home)
        yield


def hidden_by_git(folder: Path, paths: list[str]) -> set[str]:
    run = subprocess.run(
        ["git", "check-ignore", "--no-index", "--stdin", "-z"],
        cwd=folder,
        input="\0".join(paths).encode(),
        capture_output=True,
    )
    assert run.returncode in (0, 1), run.stderr
    return {each for each in run.stdout.decode().split("\0") if each}


def is_hidden(folder: Path, path: str) -> bool:
    policy = FilePolicy([folder], is_trusted=True, settings=Settings())
    return not policy.judge((folder / path).as_uri(), None).is_allowed


@settings(max_examples=120)
@given(files=IGNORE_FILES, paths=st.lists(PATHS, min_size=1, max_size=4, unique=True))
@example(files={"": ["*", "!a"]}, paths=["a/b"])
@example(files={"": ["a/**", "!a/b"]}, paths=["a/b", "a/a"])
@example(files={"": ["/a/*/b"], "a": ["!b"]}, paths=["a/log/b", "a/b"])
@example(files={"": ["log/"], "a": ["!log/"]}, paths=["a/log/b", "log", "log/a"])
def test_hides_what_git_hides(files: dict[str, list[str]], paths: list[str]) -> None:
    """Git itself is the specification; what we hide beyond it must at least be rare."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        for needed in ("objects", "refs"):
            (folder / ".git" / needed).mkdir(parents=True)
        (folder / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
        for where, lines in files.items():
            (folder / where).mkdir(parents=True, exist_ok=True)
            (folder / where / ".gitignore").write_text("\n".join(lines), encoding="utf-8")
        # A path that is a file here cannot be a folder of another.
        asked = [path for path in paths if not (folder / path).is_dir()]
        hidden = hidden_by_git(folder, asked)
        for path in asked:
            ours, theirs = is_hidden(folder, path), path in hidden
            assert ours or not theirs, (path, files)
            if not any(is_odd(line) for lines in files.values() for line in lines):
                assert ours == theirs, (path, files)


def is_odd(line: str) -> bool:
    """Lines on which pathspec and git differ; there we must only never show what git hides."""
    return any(each in line for each in ("\\", "//", "***", "! ")) or line.rstrip(" ") in (
        "!",
        "!/",
    )


def make_repository(folder: Path, ignored: str = "*.log\n") -> Path:
    (folder / ".git" / "info").mkdir(parents=True)
    (folder / ".gitignore").write_text(ignored)
    return folder


def reason(policy: FilePolicy, path: Path) -> str:
    return policy.judge(path.as_uri(), "x = 1\n").reason


def test_every_level_and_exclude_count(tmp_path: Path) -> None:
    make_repository(tmp_path)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / ".gitignore").write_text("local.py\n")
    (tmp_path / ".git" / "info" / "exclude").write_text("private/\n")
    (tmp_path / "deep" / ".nemodiffignore").write_text("mine*\n")
    policy = FilePolicy([tmp_path], is_trusted=True, settings=Settings())
    assert "ignored by git" in reason(policy, tmp_path / "a.log")
    assert "ignored by git" in reason(policy, tmp_path / "deep" / "b.log")
    assert "ignored by git" in reason(policy, tmp_path / "deep" / "local.py")
    assert "ignored by git" in reason(policy, tmp_path / "private" / "x" / "y.py")
    assert ".nemodiffignore" in reason(policy, tmp_path / "deep" / "mine.py")
    assert reason(policy, tmp_path / "local.py") == ""
    assert reason(policy, tmp_path / "mine.py") == ""


def test_rules_above_the_opened_folder_count(tmp_path: Path) -> None:
    make_repository(tmp_path, "generated/\n")
    (tmp_path / ".nemodiffignore").write_text("draft.py\n")
    opened = tmp_path / "generated"
    policy = FilePolicy([opened], is_trusted=True, settings=Settings())
    assert "ignored by git" in reason(policy, opened / "a.py")
    policy = FilePolicy([tmp_path / "src"], is_trusted=True, settings=Settings())
    assert ".nemodiffignore" in reason(policy, tmp_path / "src" / "draft.py")


def test_a_nested_repository_is_judged_by_both(tmp_path: Path) -> None:
    make_repository(tmp_path, "vendor/\n")
    make_repository(tmp_path / "vendor" / "lib", "*.tmp\n")
    make_repository(tmp_path / "own", "*.tmp\n")
    policy = FilePolicy([tmp_path], is_trusted=True, settings=Settings())
    assert "ignored by git" in reason(policy, tmp_path / "vendor" / "lib" / "a.py")
    assert "ignored by git" in reason(policy, tmp_path / "own" / "a.tmp")
    assert reason(policy, tmp_path / "own" / "a.py") == ""


def test_the_global_ignore_file_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = tmp_path / "everywhere"
    named.write_text("*.scratch\n")
    config = tmp_path / "gitconfig"
    config.write_text(f"[core]\n\texcludesFile = {named}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    folder = make_repository(tmp_path / "project")
    policy = FilePolicy([folder], is_trusted=True, settings=Settings())
    assert "ignored by git" in reason(policy, folder / "a.scratch")
    named.write_text("*.other\n")
    assert reason(policy, folder / "a.scratch") == ""
    config.write_text("[core\n")
    assert "git's configuration cannot be used" in reason(policy, folder / "a.py")


def test_a_repository_may_name_its_own_ignore_file(tmp_path: Path) -> None:
    folder = make_repository(tmp_path / "project")
    (tmp_path / "named").write_text("*.scratch\n")
    (folder / ".git" / "config").write_text(f"[core]\n\texcludesFile = {tmp_path / 'named'}\n")
    trusting = FilePolicy([folder], is_trusted=True, settings=Settings())
    assert "ignored by git" in reason(trusting, folder / "a.scratch")
    assert reason(trusting, folder / "a.py") == ""
    careful = FilePolicy([folder], is_trusted=False, settings=Settings())
    assert "not trusted" in reason(careful, folder / "a.py")


def test_a_linked_work_tree_finds_its_exclude_file(tmp_path: Path) -> None:
    main = make_repository(tmp_path / "main")
    (main / ".git" / "info" / "exclude").write_text("private.py\n")
    own = main / ".git" / "worktrees" / "tree"
    own.mkdir(parents=True)
    (own / "commondir").write_text("../..\n")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / ".git").write_text(f"gitdir: {own}\n")
    policy = FilePolicy([tree], is_trusted=True, settings=Settings())
    assert "ignored by git" in reason(policy, tree / "private.py")
    assert reason(policy, tree / "a.py") == ""
    careful = FilePolicy([tree], is_trusted=False, settings=Settings())
    assert "not trusted" in reason(careful, tree / "a.py")
    (tree / ".git").write_text("nonsense\n")
    assert "points nowhere" in reason(policy, tree / "a.py")


@pytest.mark.parametrize("name", [".gitignore", ".nemodiffignore"])
@pytest.mark.parametrize(
    "kind", ["undecodable", "nul", "folder", "pipe", "loop", "dangling", "long", "stars", "no rule"]
)
def test_a_broken_ignore_file_hides_all_below(tmp_path: Path, name: str, kind: str) -> None:
    make_repository(tmp_path)
    below = tmp_path / "below"
    below.mkdir()
    policy = FilePolicy([tmp_path], is_trusted=True, settings=Settings())
    assert reason(policy, below / "a.py") == ""
    broken = below / name
    if kind == "folder":
        broken.mkdir()
    elif kind == "pipe":
        os.mkfifo(broken)
    elif kind == "loop":
        broken.symlink_to(broken)
    elif kind == "dangling":
        broken.symlink_to(tmp_path / "nowhere")
    else:
        contents = {
            "undecodable": b"caf\xe9\n",
            "nul": b"a\0b\n",
            "long": b"a\n" * 600_000,
            "stars": b"*a*a*a*a*a*a*a*a*b\n",
            "no rule": b"!\n",
        }
        broken.write_bytes(contents[kind])
    for path in (below / "a.py", below / "deeper" / "b.py"):
        assert f"{name} cannot be used" in reason(policy, path)
        assert str(tmp_path) not in reason(policy, path)
    assert reason(policy, tmp_path / "a.py") == "", "only what lies below the broken file is hidden"
    if broken.is_dir() and not broken.is_symlink():
        broken.rmdir()
    else:
        broken.unlink()
    broken.write_text("other\n")
    assert reason(policy, below / "a.py") == "", "a repaired file is read again"


def test_an_ignore_file_without_read_permission_hides_all_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_repository(tmp_path)
    real_open = os.open

    def refuse(path: str, *rest: int, **named: int) -> int:
        if os.fspath(path).endswith(".gitignore"):
            raise PermissionError(13, "Permission denied", path)
        return real_open(path, *rest, **named)

    monkeypatch.setattr(os, "open", refuse)
    policy = FilePolicy([tmp_path], is_trusted=True, settings=Settings())
    assert ".gitignore cannot be used (Permission denied)" in reason(policy, tmp_path / "a.py")


def test_a_changed_ignore_file_is_read_again(tmp_path: Path) -> None:
    policy = FilePolicy([tmp_path], is_trusted=True, settings=Settings())
    assert reason(policy, tmp_path / "a.py") == ""
    ignore = tmp_path / ".nemodiffignore"
    ignore.write_text("a.py\n")
    assert ".nemodiffignore" in reason(policy, tmp_path / "a.py")
    before = ignore.stat()
    # Same size, same time: git's own cache would miss this, the inode's change time tells it.
    ignore.write_text("b.py\n")
    os.utime(ignore, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert reason(policy, tmp_path / "a.py") == ""
    ignore.unlink()
    assert reason(policy, tmp_path / "b.py") == ""
    make_repository(tmp_path, "a.py\n")
    assert "ignored by git" in reason(policy, tmp_path / "a.py"), "a repository may appear"


@given(st.lists(st.text(max_size=30), max_size=10))
def test_any_line_is_a_rule_or_one_kind_of_error(lines: list[str]) -> None:
    try:
        rules = parse_rules(lines)
    except ValueError:
        return
    for rule in rules:
        rule.applies_to("a/b.py", is_folder=False)


def test_a_git_that_does_not_answer_hides_files_only_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (tmp_path / "a.py").write_text("x = 1\n")
    calls = 0

    def hangs(*_: object, **__: object) -> object:
        nonlocal calls
        calls += 1
        raise subprocess.TimeoutExpired("git", 5)

    policy = FilePolicy([tmp_path], is_trusted=True, settings=Settings())
    with monkeypatch.context() as patch:
        patch.setattr("nemodiff_lsp.privacy.git.subprocess.run", hangs)
        for _ in range(3):
            assert not policy.judge_path(tmp_path / "a.py", "x = 1\n").is_allowed
        assert calls == 1, "git is left alone for a while"
    monkeypatch.setattr("nemodiff_lsp.privacy.git._RETRY_S", 0.0)
    again = FilePolicy([tmp_path], is_trusted=True, settings=Settings())
    with monkeypatch.context() as patch:
        patch.setattr("nemodiff_lsp.privacy.git.subprocess.run", hangs)
        assert not again.judge_path(tmp_path / "a.py", "x = 1\n").is_allowed
    assert again.judge_path(tmp_path / "a.py", "x = 1\n").is_allowed
