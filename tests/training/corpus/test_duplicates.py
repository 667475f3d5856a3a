"""Exact and near duplicates."""

from __future__ import annotations

import pytest

from engine.training.corpus.duplicates import Duplicates

from .builders import module


def test_the_same_text_but_for_space_is_an_exact_duplicate() -> None:
    duplicates = Duplicates()
    text = module("alpha")
    assert duplicates.refusal(text) is None
    assert duplicates.refusal(text.replace("    ", "\t").replace("\n\n", "\n")) == "exact duplicate"


def test_a_file_with_few_new_lines_is_a_near_duplicate() -> None:
    duplicates = Duplicates()
    assert duplicates.refusal(module("alpha", 10)) is None
    assert duplicates.refusal(module("alpha", 10) + module("beta", 1)) == "near duplicate"


def test_a_file_with_many_new_lines_is_none() -> None:
    duplicates = Duplicates()
    assert duplicates.refusal(module("alpha", 10)) is None
    assert duplicates.refusal(module("alpha", 10) + module("beta", 8)) is None


@pytest.mark.parametrize(("num_seen", "refusal"), [(70, None), (71, "near duplicate")])
def test_seven_tenths_are_the_limit(num_seen: int, refusal: str | None) -> None:
    lines = [f"some_long_name_{number} = call_of_something({number})" for number in range(200)]
    duplicates = Duplicates()
    assert duplicates.refusal("\n".join(lines[:100])) is None
    text = "\n".join(lines[100 - num_seen : 200 - num_seen])
    assert duplicates.refusal(text) == refusal


def test_lines_from_several_files_add_up() -> None:
    duplicates = Duplicates()
    for name in ("alpha", "beta"):
        assert duplicates.refusal(module(name)) is None
    assert duplicates.refusal(module("alpha") + module("beta")) == "near duplicate"


def test_what_was_dropped_does_not_count_as_seen() -> None:
    duplicates = Duplicates()
    alpha, beta, gamma = (module(name, 10) for name in ("alpha", "beta", "gamma"))
    assert duplicates.refusal(alpha) is None
    assert duplicates.refusal(alpha + module("beta", 2)) == "near duplicate"
    assert duplicates.refusal(beta) is None
    assert duplicates.refusal(gamma) is None


def test_a_licence_header_makes_no_duplicate() -> None:
    header = "".join(
        f"# line {number} of a long and common licence header\n" for number in range(30)
    )
    duplicates = Duplicates()
    for name in ("alpha", "beta", "gamma"):
        assert duplicates.refusal(header + module(name, 2)) is None


def test_short_files_of_common_lines_are_kept() -> None:
    duplicates = Duplicates()
    line = "from somewhere.in_the_package import everything"
    assert duplicates.refusal(f"{line}\nx = 1\n") is None
    assert duplicates.refusal(f"{line}\ny = 1\n") is None
