"""The fused head and the survey of logits, against their torch twin: the same tokens, the same
logits, whatever the instruction set, the number of threads and the rows beside."""

from __future__ import annotations

import pytest
import torch

from engine.models.survey import Survey
from engine.models.survey import survey as twin
from engine.native import library
from engine.native.weight import Int8Weight

WIDTH = 128
# Within one part, exactly one, and with parts and blocks left over.
SIZES = (32, 992, 1024, 1056, 2080, 3104)
# One row, an odd tile, more than a tile, and many.
ROWS = (1, 3, 17, 64)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def choices(V: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A penalty and end ids, the last id among both."""
    penalty = torch.zeros(V)
    penalty[[0, V // 2, V - 1]] = float("-inf")
    return penalty, torch.tensor([V - 1, 3, V // 3])


def assert_survey(found: Survey, logits: torch.Tensor, *choices: torch.Tensor) -> None:
    """Bit for bit but for the sum of the exponentials."""
    expected = twin(logits, *choices)
    for name in ("tokens", "best", "second", "end_normaliser"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    torch.testing.assert_close(found.normaliser, expected.normaliser, atol=1e-5, rtol=1e-6)


def assert_same(found: Survey, expected: Survey) -> None:
    for name, one, other in zip(Survey._fields, found, expected, strict=True):
        assert torch.equal(one, other), name


class Head:
    """A packed head over hidden states; `logits` are what the int8 product writes."""

    def __init__(self, V: int, N: int, dtype: torch.dtype = torch.float32) -> None:
        self.hidden = (3 * draw(N, WIDTH, seed=N)).to(dtype)
        self.packed = Int8Weight.of(draw(V, WIDTH, seed=V)).packed
        self.logits = torch.full((N, V), float("nan"))
        library.linear(self.hidden, self.packed, None, self.logits)
        self.choices = choices(V)

    def survey(self, rows: slice = slice(None)) -> Survey:
        return library.head_survey(self.hidden[rows], self.packed, *self.choices)


@pytest.mark.parametrize("N", ROWS)
@pytest.mark.parametrize("V", SIZES)
def test_the_fused_head_is_the_twin_of_its_logits(kernels: str, V: int, N: int) -> None:
    head = Head(V, N)
    assert_survey(head.survey(), head.logits, *head.choices)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_fused_head_is_the_survey_of_its_logits_bit_for_bit(
    kernels: str, dtype: torch.dtype
) -> None:
    head = Head(3104, 9, dtype)
    assert_same(head.survey(), library.survey(head.logits, *head.choices))


def test_instruction_sets_differ_in_the_sum_at_most(kernels: str) -> None:
    head = Head(2080, 5)
    found = head.survey()
    assert library.choose_kernels("scalar")
    assert_survey(found, head.logits, *head.choices)
    torch.testing.assert_close(found.normaliser, head.survey().normaliser, atol=1e-5, rtol=1e-6)


def test_a_row_does_not_depend_on_the_rows_beside(kernels: str) -> None:
    head = Head(2080, 17)
    together = head.survey()
    for first, last in ((0, 1), (16, 17), (2, 9), (0, 13)):
        rows = slice(first, last)
        assert_same(head.survey(rows), together.pick_rows(rows))


@pytest.mark.parametrize("num_threads", [2, 3])
def test_threads_change_nothing(threads: None, num_threads: int) -> None:
    head = Head(3104, 9)
    expected = head.survey()
    library.set_threads(num_threads)
    for _ in range(50):
        assert_same(head.survey(), expected)
        assert_same(library.survey(head.logits, *head.choices), expected)


@pytest.mark.parametrize("V", [1, 15, 16, 17, 1000, 1024, 1025, 2063, 4099])
def test_logits_of_any_width(kernels: str, V: int) -> None:
    logits, penalty = 5 * draw(3, V), torch.zeros(V)
    penalty[: V // 2 : 7] = float("-inf")
    ends = torch.tensor([0, V - 1])
    assert_survey(library.survey(logits, penalty, ends), logits, penalty, ends)


@pytest.mark.parametrize("places", [(5, 6), (5, 21), (1023, 1024), (40, 2000), (2047, 1030, 7)])
def test_of_equal_ones_the_first_wins(kernels: str, places: tuple[int, ...]) -> None:
    """In one vector, across vectors and across parts."""
    logits = draw(2, 2080)
    logits[:, list(places)] = 9.0
    penalty, ends = torch.zeros(2080), torch.tensor([1])
    found = library.survey(logits, penalty, ends)
    assert found.tokens.tolist() == [min(places)] * 2
    assert found.best.tolist() == found.second.tolist() == [9.0, 9.0]
    assert_survey(found, logits, penalty, ends)


@pytest.mark.parametrize("second", [0, 1, 16, 1023, 1024, 2079])
def test_the_second_best_is_found_wherever_it_lies(kernels: str, second: int) -> None:
    logits, penalty, ends = draw(1, 2080), torch.zeros(2080), torch.tensor([1])
    logits[0, 500], logits[0, second] = 20.0, 19.5
    found = library.survey(logits, penalty, ends)
    assert found.tokens.tolist() == [500] and found.second.tolist() == [19.5]


def test_no_end_and_nothing_to_choose(kernels: str) -> None:
    logits, none = draw(2, 1056), torch.empty(0, dtype=torch.int64)
    found = library.survey(logits, torch.full((1056,), float("-inf")), none)
    assert found.best.tolist() == found.second.tolist() == [float("-inf")] * 2
    assert found.end_normaliser.tolist() == [float("-inf")] * 2
    assert found.tokens.tolist() == [0, 0]
    torch.testing.assert_close(found.normaliser, torch.logsumexp(logits, dim=-1))


def test_minus_infinity_in_whole_parts(kernels: str) -> None:
    logits = torch.full((1, 3104), float("-inf"))
    logits[0, 2000], logits[0, 2001] = -4e4, -5e4
    assert_survey(library.survey(logits, *choices(3104)), logits, *choices(3104))


def test_what_is_no_number_is_not_chosen_and_not_hidden(kernels: str) -> None:
    head = Head(2080, 4)
    expected = head.survey()
    logits = head.logits.clone()
    logits[1, int(expected.tokens[1])] = logits[1, 700] = float("nan")
    logits[2] = float("nan")
    found = library.survey(logits, *head.choices)
    assert_same(found.pick_rows([0, 3]), expected.pick_rows([0, 3]))
    assert found.normaliser[[1, 2]].isnan().all()
    assert float(found.best[1]) == float(expected.second[1])
    head.hidden[2, 5] = float("nan")
    found = head.survey()
    assert_same(found.pick_rows([0, 1, 3]), expected.pick_rows([0, 1, 3]))
    assert found.normaliser[2].isnan() and 0 <= int(found.tokens[2]) < 2080


def test_no_rows_at_all(built: None) -> None:
    found = Head(64, 1).survey(slice(0, 0))
    assert [len(each) for each in found] == [0] * 5
