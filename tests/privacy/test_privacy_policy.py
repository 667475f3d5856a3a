"""FilePolicy: what is never completed and never context, by name, place and text."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemodiff_lsp.privacy.content import objection_to
from nemodiff_lsp.privacy.policy import FilePolicy, Verdict
from nemodiff_lsp.privacy.secrets import is_secret_path
from nemodiff_lsp.settings.settings import Settings

TEXT = "def f(x):\n    return x\n"
LIMITS = {"max_chars": 1_000_000, "max_line_chars": 5_000}

SECRETS = [
    *(".env", ".env.local", ".env.example", ".ENV", "prod.env", ".envrc", "server.PEM"),
    *("a.key", "a.p12", "a.pfx", "a.crt", "store.jks", "vault.kdbx", "id_rsa", "id_rsa.pub"),
    *("id_ed25519", ".netrc", "_netrc", ".npmrc", ".pypirc", "credentials", "credentials.json"),
    *("Credentials.yaml", "secrets.yml", "terraform.tfstate", "x.tfvars", ".git-credentials"),
    *("secrets/app.py", "deep/Secrets/app.py", ".ssh/config", ".aws/config", ".gnupg/x.conf"),
    *(".kube/config", ".docker/config.json", ".git/config", ".bash_history", "kubeconfig"),
]
HARMLESS = [
    *(
        "main.py",
        "environment.py",
        "env.py",
        "keyboard.key.py",
        "pem.py",
        "secrets.py",
        "secret.rs",
    ),
    *("secretary/app.py", "my_secrets_app/x.py", "tokens.py", "ssh/config.py", "key.ts"),
    *(".docker/Dockerfile", ".github/workflows/a.yml", "monkey", "environment.yml", "README.md"),
]


def policy_for(*folders: Path, **settings: object) -> FilePolicy:
    return FilePolicy(folders, is_trusted=True, settings=Settings(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_by_name(tmp_path: Path, name: str) -> None:
    policy = policy_for(tmp_path)
    for judged in (policy, policy_for()):
        verdict = judged.judge((tmp_path / name).as_uri(), TEXT)
        assert not verdict.is_allowed
        assert "secrets by custom" in verdict.reason
        assert not judged.judge((tmp_path / name).as_uri(), None).is_allowed


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_names(tmp_path: Path, name: str) -> None:
    assert policy_for(tmp_path).judge((tmp_path / name).as_uri(), TEXT) == Verdict(True)


def test_spellings_of_a_uri_make_no_difference(tmp_path: Path) -> None:
    policy = policy_for(tmp_path)
    plain = (tmp_path / "x").as_uri().removesuffix("x")
    for end in ("%2Eenv", ".%65nv", "a/../.env", "./.env", "a%2F..%2F.env", ".env#L3", ".env?x=1"):
        assert not policy.judge(plain + end, TEXT).is_allowed, end
    assert not policy.judge(f"FILE{plain.removeprefix('file')}.env", TEXT).is_allowed
    assert not policy.judge(plain.replace("file:///", "file://localhost/") + ".env", "").is_allowed
    assert policy.judge(f"{plain}a/../main.py", TEXT).is_allowed
    assert not policy.judge(f"{plain}../main.py", TEXT).is_allowed


@pytest.mark.parametrize(
    ("uri", "is_allowed"),
    [
        ("untitled:Untitled-1", True),
        ("untitled:.env", False),
        ("untitled:/project/.env", False),
        ("file://", True),
        ("file:///project/main.py", True),
        ("vscode-notebook-cell:/project/book.ipynb#W0", True),
        ("vscode-notebook-cell://127.0.0.1:80/project/book.ipynb#W0", True),
        ("vscode-notebook-cell://ssh-remote%2Bhost/project/secrets/book.ipynb#W0", False),
        ("vscode-notebook-cell:/project/secrets/book.ipynb#W0", False),
        ("vscode-notebook-cell:/project/c#/secrets/book.ipynb#W0", False),
        ("file:///project/c#/main.py", True),
        ("file:///project/c#/.env", False),
        ("file:///project/c?/id_rsa", False),
        ("file:///project/secrets/x#/main.py", False),
        ("git:/project/main.py", False),
        ("output:x", False),
        ("vscode-scm:git/scm0/input", False),
        ("vscode-vfs://github/x/main.py", False),
        ("https://example.org/main.py", False),
        ("main.py", False),
        ("", False),
        ("file:///a%00b.py", False),
        ("file://[/a.py", False),
        ("C:\\main.py", False),
    ],
)
def test_schemes(uri: str, is_allowed: bool) -> None:
    verdict = policy_for().judge(uri, TEXT)
    assert verdict.is_allowed is is_allowed
    assert bool(verdict.reason) is not is_allowed


def test_a_share_is_outside(tmp_path: Path) -> None:
    assert not policy_for(tmp_path).judge(f"file://server{tmp_path}/a.py", TEXT).is_allowed


def test_the_language_of_secrets_counts_without_a_name() -> None:
    policy = policy_for()
    assert not policy.judge("untitled:Untitled-1", TEXT, language_id="dotenv").is_allowed
    assert policy.judge("untitled:Untitled-1", TEXT, language_id="python").is_allowed


def test_files_outside_the_opened_folders(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    policy = policy_for(one, two)
    assert policy.judge((one / "a.py").as_uri(), TEXT).is_allowed
    assert policy.judge((two / "b" / "a.py").as_uri(), TEXT).is_allowed
    for outside in (tmp_path / "a.py", tmp_path / "one2" / "a.py"):
        assert "outside the opened folders" in policy.judge(outside.as_uri(), TEXT).reason
    assert policy_for().judge((tmp_path / "a.py").as_uri(), TEXT).is_allowed


def test_links_are_judged_by_both_ends(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "elsewhere.py").write_text(TEXT)
    (folder / "real.py").write_text(TEXT)
    (folder / ".env").write_text("A=1\n")
    (folder / "secrets").mkdir()
    links = {
        "out.py": "../elsewhere.py",
        "secret.py": ".env",
        "fine.py": "real.py",
        "loop.py": "loop.py",
    }
    for name, target in links.items():
        (folder / name).symlink_to(target)
    (folder / "config.py").symlink_to("secrets/config.py")
    policy = policy_for(folder)
    assert "link" in policy.judge((folder / "out.py").as_uri(), TEXT).reason
    assert "secrets" in policy.judge((folder / "secret.py").as_uri(), TEXT).reason
    assert "secrets" in policy.judge((folder / "config.py").as_uri(), TEXT).reason
    assert policy.judge((folder / "fine.py").as_uri(), TEXT).is_allowed
    assert policy.judge((folder / "loop.py").as_uri(), TEXT).is_allowed
    # The same link may lead elsewhere a moment later.
    (folder / "fine.py").unlink()
    (folder / "fine.py").symlink_to("../elsewhere.py")
    assert not policy.judge((folder / "fine.py").as_uri(), TEXT).is_allowed


def test_an_opened_folder_may_be_reached_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for folder in (tmp_path / "real", tmp_path / "link"):
        policy = policy_for(folder)
        assert policy.judge((tmp_path / "real" / "a.py").as_uri(), TEXT).is_allowed
    assert (
        policy_for(tmp_path / "link").judge((tmp_path / "link" / "a.py").as_uri(), TEXT).is_allowed
    )


def test_exclude_patterns(tmp_path: Path) -> None:
    policy = policy_for(tmp_path, exclude_patterns=("*.sql", "/private/", "!keep.sql"))
    reasons = {
        name: policy.judge((tmp_path / name).as_uri(), TEXT).reason
        for name in ("a.sql", "x/a.sql", "private/a.py", "x/private/a.py", "keep.sql")
    }
    assert all("excludePatterns" in reasons[name] for name in ("a.sql", "x/a.sql", "private/a.py"))
    assert reasons["x/private/a.py"] == reasons["keep.sql"] == ""
    broken = policy_for(tmp_path, exclude_patterns=("!",))
    assert "no pattern" in broken.judge((tmp_path / "a.py").as_uri(), TEXT).reason


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x" * 1_000_001, "longer than 1,000,000"),
        ("a = 1\n" * 200_000, "longer than 1,000,000"),
        ("a\0b", "binary"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE", "private key"),
        ("key = '''-----BEGIN PRIVATE KEY-----\nMIIE'''", "private key"),
        ("-----BEGIN PGP PRIVATE KEY BLOCK-----\n", "private key"),
        ("PuTTY-User-Key-File-3: ssh-rsa\n", "private key"),
        ("x = 1\n" * 9_000 + "-----BEGIN EC PRIVATE KEY-----\n" + "Mabc" * 16, "private key"),
        ("x = 1\n" * 2_000 + "y" * 5_001 + "\n" + "x = 1\n" * 2_000, "5,000 characters"),
        ("x = 1\r" * 2_000 + "y" * 5_001, "5,000 characters"),
        ("var a=1;" * 300, "generated"),
    ],
    ids=lambda value: value[:12],
)
def test_texts_that_are_left_out(text: str, words: str) -> None:
    verdict = policy_for().judge("file:///project/a.js", text, language_id="javascript")
    assert words in verdict.reason


@pytest.mark.parametrize(
    "text",
    [
        "",
        TEXT,
        TEXT * 20_000,
        "y" * 5_000 + "\n" + "x = 1\n" * 5_000,
        "var a=1;" * 100,
        "x = 1\n" * 9_000 + "MARK = '-----BEGIN EC PRIVATE KEY-----'\n",
        "-----BEGIN PUBLIC KEY-----\n",
        "x\r\n" * 5_000,
    ],
    ids=lambda value: value[:12],
)
def test_texts_that_are_fine(text: str) -> None:
    assert policy_for().judge("file:///project/a.js", text).reason == ""


def test_a_paragraph_is_no_generated_file() -> None:
    text = "word " * 400
    assert objection_to(text, "markdown", **LIMITS) is None
    assert objection_to(text, "javascript", **LIMITS) is not None


@given(
    st.lists(st.integers(0, 30), max_size=12),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.integers(2, 25),
)
def test_a_long_line_is_found_wherever_it_is(lengths: list[int], end: str, limit: int) -> None:
    text = end.join("x" * length for length in lengths)
    found = objection_to(text, None, max_chars=10_000, max_line_chars=limit)
    assert (found is not None) == any(length > limit for length in lengths)


@given(uri=st.text(max_size=40), text=st.none() | st.text(max_size=40))
def test_never_raises(uri: str, text: str | None) -> None:
    policy = policy_for(Path("/project"))
    for each in (uri, f"file://{uri}", f"file:///project/{uri}", f"untitled:{uri}"):
        verdict = policy.judge(each, text)
        assert verdict.is_allowed == (verdict.reason == "")


def test_a_fault_of_its_own_leaves_the_file_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: str) -> str:
        raise OSError("the disk is gone")

    monkeypatch.setattr(os.path, "realpath", fail)
    verdict = policy_for().judge("file:///project/a.py", TEXT)
    assert not verdict.is_allowed
    assert "could not be decided (OSError)" in verdict.reason


def test_a_warm_verdict_reads_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("*.log\n")
    policy = policy_for(tmp_path)
    uri = (tmp_path / "a.py").as_uri()
    assert policy.judge(uri, TEXT).is_allowed
    opened: list[object] = []
    monkeypatch.setattr(os, "open", lambda *args, **named: opened.append(args))
    assert policy.judge(uri, TEXT).is_allowed
    assert opened == []


def test_a_reason_never_names_the_file(tmp_path: Path) -> None:
    policy = policy_for(tmp_path / "opened")
    for name in ("canary.env", "secrets/canary.py", "opened/canary.py\0"):
        reason = policy.judge(f"file://{tmp_path}/{name}", "canary\0").reason
        assert reason
        assert "canary" not in reason and str(tmp_path) not in reason


@given(st.text(alphabet="abc/.\\", max_size=20))
def test_a_secret_folder_hides_all_below(rest: str) -> None:
    assert is_secret_path(f"/home/x/.ssh/{rest}")
