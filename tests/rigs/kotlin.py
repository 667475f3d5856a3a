"""Kotlin: compiles sources and runs JUnit, without Gradle. Used by test_jetbrains.py."""

from __future__ import annotations

import os
import re
import subprocess
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from get_kotlin import compiler_in, default_folder, find_java, junit_in

FOLDER_VARIABLE = "NEMODIFF_KOTLIN"
COMPILE_S = 600
RUN_S = 600
# One wrong name brings hundreds of messages; the first ones say it.
_SHOWN_CHARS = 4000


@dataclass(frozen=True)
class Result:
    """What JUnit says of a run."""

    num_successful: int
    num_failed: int
    num_skipped: int
    output: str


@dataclass(frozen=True)
class Kotlin:
    """A compiler, JUnit's jars and a Java."""

    java: Path
    libraries: Path
    junit: Sequence[Path]

    def compile(self, sources: Sequence[Path], jar: Path, class_path: Sequence[Path] = ()) -> None:
        """Compile the Kotlin of `sources` into `jar`; their Java is only looked at.

        Raises AssertionError with the compiler's words. Warnings count as errors.
        """
        command = [
            *(self.java, "-Xmx900m", "-cp", _joined(self._compiler())),
            "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler",
            *("-no-reflect", "-Werror", "-jvm-target", "17"),
            *("-kotlin-home", self.libraries.parent),
            *("-cp", _joined([*class_path, self.coroutines])),
            *("-d", jar, *sources),
        ]
        run = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, timeout=COMPILE_S, check=False
        )
        assert run.returncode == 0, (run.stderr + run.stdout)[:_SHOWN_CHARS]

    def run_tests(
        self, jar: Path, class_path: Sequence[Path], properties: Mapping[str, str]
    ) -> Result:
        """Run the tests in `jar`, with these system properties."""
        standard = self.libraries / "kotlin-stdlib.jar"
        path = _joined([jar, *class_path, standard, self.coroutines, *self.junit])
        command = [
            *(str(self.java), *(f"-D{name}={value}" for name, value in properties.items())),
            *("-cp", path, "org.junit.platform.console.ConsoleLauncher"),
            *("-cp", str(jar), "--scan-classpath", "--disable-banner", "--disable-ansi-colors"),
        ]
        run = subprocess.run(command, capture_output=True, text=True, timeout=RUN_S, check=False)
        return Result(
            num_successful=_number(run.stdout, "successful"),
            num_failed=_number(run.stdout, "failed"),
            num_skipped=_number(run.stdout, "aborted"),
            output=run.stdout + run.stderr,
        )

    @property
    def coroutines(self) -> Path:
        return self.libraries / "kotlinx-coroutines-core-jvm.jar"

    def _compiler(self) -> list[Path]:
        names = ("kotlin-compiler", "kotlin-stdlib", "kotlin-script-runtime", "kotlin-reflect")
        return [*(self.libraries / f"{name}.jar" for name in names), self.coroutines]


def find_kotlin() -> Kotlin | None:
    """What `make rigs` has installed, or NEMODIFF_KOTLIN names; None when a part is missing."""
    folder = Path(os.environ.get(FOLDER_VARIABLE) or default_folder())
    java = find_java(folder)
    if java is None or not compiler_in(folder).exists() or not junit_in(folder):
        return None
    return Kotlin(java, compiler_in(folder).parent, junit_in(folder))


def plugin_zip(
    compiled: Path, resources: Path, packages: Sequence[str], target: Path, name: str
) -> None:
    """The plugin as an IDE installs it: NAME/lib/NAME.jar, of `packages` and the resources."""
    jar = target.with_suffix(".jar")
    with zipfile.ZipFile(compiled) as classes, zipfile.ZipFile(jar, "w") as made:
        for entry in classes.namelist():
            if entry.startswith(tuple(packages)) or entry.endswith(".kotlin_module"):
                made.writestr(entry, classes.read(entry))
        for path in sorted(resources.rglob("*")):
            if path.is_file():
                made.write(path, path.relative_to(resources).as_posix())
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as made:
        made.write(jar, f"{name}/lib/{name}.jar")


def _joined(paths: Sequence[Path]) -> str:
    return os.pathsep.join(map(str, paths))


def _number(output: str, word: str) -> int:
    found = re.search(rf"\[\s*(\d+) tests {word}\s*\]", output)
    return int(found.group(1)) if found else 0
