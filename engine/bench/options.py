"""The options of `nemodiff bench` for the engine, read without torch."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.bench import CASES
from engine.config import DEFAULT_MODEL

_PASS_MODES = ("verify", "draft", "shared")
_COMPLETION_MODES = ("auto", "ar", "quad_spec", "linear_spec", "diffusion")
_LONGEST = 1_000_000
SHAPE_NAMES = ("default", "1.5b", "3b", "8b", "14b")


def build_parser() -> argparse.ArgumentParser:
    """Subcommands are the cases."""
    parser = argparse.ArgumentParser(
        prog="nemodiff bench",
        description="Measure the engine beside what the machine could do.",
        epilog="The language server end to end: `nemodiff bench lsp --engine real`.",
    )
    cases = parser.add_subparsers(dest="case", metavar="CASE", required=True)
    for name, summary in CASES.items():
        case = cases.add_parser(name, help=summary, description=summary.capitalize() + ".")
        if name == "kernels":
            _add_kernels(case)
            continue
        _add_what(case)
        _add_how(case)
        _add_sizes(case)
        _add_peers(case)
        _add_output(case)
    return parser


def _add_what(case: argparse.ArgumentParser) -> None:
    group = case.add_argument_group("what")
    group.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME")
    group.add_argument(
        "--shape",
        metavar="SHAPE",
        help=f"instead of a model: random weights in this architecture ({', '.join(SHAPE_NAMES)}); "
        "cases forward, cycles and prefill",
    )
    group.add_argument(
        "--paths",
        default="auto",
        metavar="A,B",
        help="ways to compute, measured side by side: auto, bf16, fp32, int8, or options such as "
        "dtype=float32+num_threads=2 or graphs=off (default: %(default)s)",
    )
    group.add_argument("--device", default="auto", metavar="NAME")
    group.add_argument(
        "--threads",
        type=_whole(1, 256),
        metavar="N",
        help="of all paths, ceilings and peers (default: what the engine chooses)",
    )


def _add_how(case: argparse.ArgumentParser) -> None:
    group = case.add_argument_group("how")
    group.add_argument("--rounds", type=_whole(1, 10_000), metavar="N", help="default: 9; quick: 7")
    group.add_argument("--seed", type=_whole(0, 2**31), default=0, metavar="N")
    group.add_argument(
        "--minutes", type=_positive, metavar="N", help="begin no further round after this time"
    )
    group.add_argument("--quick", action="store_true", help="small sizes, about two minutes")


def _add_sizes(case: argparse.ArgumentParser) -> None:
    group = case.add_argument_group("sizes (lists; the first of each is what the others vary from)")
    lengths, sizes = _whole_list(0, _LONGEST), _whole_list(1, 1024)
    group.add_argument("--modes", type=_names(_PASS_MODES), metavar="A,B", help="of a forward")
    group.add_argument("--blocks", type=sizes, metavar="N,N", help="tokens of a forward")
    group.add_argument("--rows", type=_whole_list(1, 64), metavar="N,N", help="of a forward")
    group.add_argument("--cached", type=lengths, metavar="N,N", help="tokens before a forward")
    group.add_argument("--full-grid", action="store_true", help="every combination of these")
    group.add_argument(
        "--lengths", type=_whole_list(1, _LONGEST), metavar="N,N", help="of a prefill"
    )
    group.add_argument(
        "--tokens",
        type=_whole_list(1, 4096),
        metavar="N,N",
        help="of a completion; in the cases compare and contention the first counts (default: 16)",
    )
    group.add_argument(
        "--accepted",
        type=_whole(1, 1024),
        default=6,
        metavar="N",
        help="tokens that a cycle emits in case cycles (default: %(default)s)",
    )
    group.add_argument(
        "--completion-modes", type=_names(_COMPLETION_MODES), metavar="A,B", help="default: auto,ar"
    )
    group.add_argument("--thresholds", type=_shares, metavar="X,X", help="for tokens per forward")
    group.add_argument("--prompts", type=_whole(1, 1000), metavar="N", help="holes of real code")
    group.add_argument(
        "--neighbours",
        type=_whole_list(0, 256),
        metavar="N,N",
        help="busy processes of case contention, beside none (default: for half of the cores, and "
        "for each of them)",
    )
    group.add_argument("--prefix-chars", type=_whole(16, 200_000), metavar="N", help="of a prompt")


def _add_peers(case: argparse.ArgumentParser) -> None:
    group = case.add_argument_group("peers")
    group.add_argument("--no-transformers", action="store_true")
    group.add_argument(
        "--llama-python", type=Path, metavar="FILE", help="a Python that has llama-cpp-python"
    )
    group.add_argument(
        "--gguf", type=Path, action="append", default=[], metavar="FILE", help="for llama.cpp"
    )
    group.add_argument("--llama-threads", type=_whole(1, 256), metavar="N", help="of llama.cpp")


def _add_kernels(case: argparse.ArgumentParser) -> None:
    case.add_argument("--device", default="auto", metavar="NAME")
    case.add_argument(
        "--shapes", type=_names(SHAPE_NAMES), metavar="A,B", help="of models (default: 3b,8b,14b)"
    )
    case.add_argument(
        "--tokens", type=_whole_list(1, 64), metavar="N,N", help="of a pass (default: 1,32,64)"
    )
    case.add_argument("--rounds", type=_whole(1, 10_000), metavar="N", help="default: 9")
    case.add_argument("--seed", type=_whole(0, 2**31), default=0, metavar="N")
    case.add_argument(
        "--interpret",
        action="store_true",
        help="time nothing: run every kernel once on this CPU, on tiny sizes, and check it",
    )
    case.add_argument("--json", type=Path, metavar="FILE")
    case.add_argument("--png", type=Path, metavar="FILE", help="needs matplotlib")


def _add_output(case: argparse.ArgumentParser) -> None:
    group = case.add_argument_group("output (Markdown goes to stdout)")
    group.add_argument("--json", type=Path, metavar="FILE")
    group.add_argument("--png", type=Path, metavar="FILE", help="needs matplotlib")
    group.add_argument(
        "--profile",
        type=Path,
        metavar="FILE",
        help="case forward: also which kernels a pass launches and what they take, as JSON",
    )


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.strip().isdigit() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(
                f"{text!r} must be a whole number from {least} to {most}"
            )
        return int(text)

    return read


def _whole_list(least: int, most: int) -> Callable[[str], list[int]]:
    one = _whole(least, most)
    return lambda text: list(dict.fromkeys(one(part) for part in text.split(",")))


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of minutes above 0")
    return number


def _shares(text: str) -> list[float]:
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = [-1.0]
    if not all(0 <= share <= 1 for share in shares):
        raise argparse.ArgumentTypeError(f"{text!r} must be a list of numbers from 0 to 1")
    return shares


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        names = text.split(",")
        wrong = [name for name in names if name not in known]
        if wrong:
            raise argparse.ArgumentTypeError(f"{wrong[0]!r} must be one of {', '.join(known)}")
        return list(dict.fromkeys(names))

    return read
