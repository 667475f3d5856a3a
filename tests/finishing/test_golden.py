"""finish() over the golden table."""

from __future__ import annotations

import pytest

from nemodiff_lsp.finishing.finish import Finished, Place, finish
from tests.finishing.cases import CASES, CURSOR, Case


def place_of(case: Case) -> Place:
    prefix, _, suffix = case.document.partition(CURSOR)
    return Place(
        prefix=prefix,
        suffix=suffix,
        language_id=case.language_id or None,
        tab_size=case.tab_size,
        insert_spaces=case.insert_spaces,
    )


def finished(case: Case) -> Finished:
    return finish(case.text, place_of(case), is_invoked=case.is_invoked, is_draft=case.is_draft)


def test_table_is_long_and_names_are_unique() -> None:
    assert len(CASES) >= 60
    assert len({(case.language_id, case.name) for case in CASES}) == len(CASES)
    assert all(case.document.count(CURSOR) == 1 for case in CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.language_id}: {case.name}")
def test_case(case: Case) -> None:
    result = finished(case)
    assert result.text == case.expected
    assert (result.dropped_because is None) == bool(case.expected)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.language_id}: {case.name}")
def test_finishing_again_changes_nothing(case: Case) -> None:
    once = finished(case).text
    again = finish(once, place_of(case), is_invoked=case.is_invoked, is_draft=False)
    assert again.text == once


def test_reasons_hold_no_text_of_the_users() -> None:
    reasons = {
        finish(
            text, Place(prefix=prefix, suffix=suffix), is_invoked=False, is_draft=False
        ).dropped_because
        for prefix, suffix, text in (
            ("canary(1)\n", "", "canary(1)"),
            ("", "\ncanary(1)\n", "canary(1)"),
            ("f(", "canary)", "canary"),
            ("", "", "canary_number\n" * 4),
            ("let canary = 1", "\n", "\nlet canary = 2"),
            ("", "", "  \n"),
        )
    }
    assert len(reasons) == 6
    assert all(reason and reason.endswith(".") and "canary" not in reason for reason in reasons)
