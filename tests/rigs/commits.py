"""A repository with commits, for tests of what is made from its history."""

from __future__ import annotations

import subprocess
from pathlib import Path


def committed(repository: Path, texts: dict[str, str]) -> None:
    """One more commit in `repository`, which is made first if need be: the files of `texts`."""

    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=n", "-c", "user.email=e@example.org")
        command = ["git", "-C", str(repository), *identity, *arguments]
        subprocess.run(command, check=True, capture_output=True)

    if not (repository / ".git").exists():
        repository.mkdir(exist_ok=True)
        git("init", "--initial-branch=main")
    for name, text in texts.items():
        (repository / name).write_text(text, encoding="utf-8")
    git("add", ".")
    git("commit", "-m", "some work")
