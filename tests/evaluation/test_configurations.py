"""Names of modes and thresholds, and which lines a report always begins with."""

from __future__ import annotations

import pytest

from engine.evaluation.configurations import AR, Point, configurations, parse_points


def test_points_are_parsed_in_order() -> None:
    assert parse_points("auto,ar,diffusion@0.9,diffusion,quad_spec") == (
        Point("auto"),
        AR,
        Point("diffusion", 0.9),
        Point("diffusion"),
        Point("quad_spec"),
    )


def test_a_label_says_the_threshold_and_names_the_point() -> None:
    labels = "ar,diffusion,diffusion@0.95,diffusion@1,linear_spec"
    assert ",".join(point.label for point in parse_points(labels)) == labels


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is none of auto"),
        ("ar,fast", "'fast' is none of"),
        ("ar,ar", "names a mode twice"),
        ("diffusion@0.9,diffusion@0.90", "names a mode twice"),
        ("ar@0.9", "only diffusion takes a threshold"),
        ("diffusion@", "a number from 0 to 1"),
        ("diffusion@high", "a number from 0 to 1"),
        ("diffusion@1.5", "a number from 0 to 1"),
        ("diffusion@nan", "a number from 0 to 1"),
    ],
)
def test_what_is_no_point_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_points(text)


WITH_ADAPTER = {"causal_adapter": "some/folder"}


@pytest.mark.parametrize("facts", [{}, {"causal_adapter": None}])
def test_without_a_causal_adapter_the_lines_are_those_asked_for(facts: dict[str, None]) -> None:
    lines = configurations(parse_points("auto,ar"), facts, with_bare_base=True)
    assert [line.label for line in lines] == ["auto", "ar"]
    assert {line.engine for line in lines} == {"engine"}


@pytest.mark.parametrize("asked", ["auto,diffusion@0.9", "auto,ar,diffusion@0.9"])
def test_with_one_ar_of_both_bases_comes_first(asked: str) -> None:
    lines = configurations(parse_points(asked), WITH_ADAPTER, with_bare_base=True)
    assert [line.label for line in lines] == ["ar, bare base", "ar", "auto", "diffusion@0.9"]
    assert [line.engine for line in lines] == ["bare base", "engine", "engine", "engine"]


def test_the_bare_base_can_be_left_out() -> None:
    lines = configurations(parse_points("auto"), WITH_ADAPTER, with_bare_base=False)
    assert [line.label for line in lines] == ["ar", "auto"]
