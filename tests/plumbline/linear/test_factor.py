"""The R factor has the loss of its rows, however they were cut up."""

import pytest
import torch
from torch import Tensor

from plumbline.linear.factor import Factor, fold, merge, triangle
from plumbline.linear.least_squares import squared_error, total_squares
from tests.plumbline.tools import compressed, factor_of, random_rows

COLLINEAR = random_rows(50, 3)
COLLINEAR[:, 2] = COLLINEAR[:, 0] - 2 * COLLINEAR[:, 1]
CONSTANT = random_rows(50, 3)
CONSTANT[:, 1] = 7.0
CASES = {
    "tall": random_rows(200, 3),
    "far from zero": random_rows(200, 3, far=1e6),
    "fewer rows than columns": random_rows(3, 6),
    "one row": random_rows(1, 3),
    "constant column": CONSTANT,
    "collinear columns": COLLINEAR,
    "all zeros": torch.zeros(20, 3, dtype=torch.float64),
}
each_case = pytest.mark.parametrize("rows", CASES.values(), ids=CASES.keys())


def on_rows(rows: Tensor, intercept: float, weights: Tensor) -> float:
    residuals = rows[:, -1] - intercept - rows[:, :-1] @ weights
    return float(residuals.square().sum())


def some_weights(rows: Tensor, seed: int) -> tuple[float, Tensor]:
    random = torch.Generator().manual_seed(seed)
    drawn = torch.randn(rows.shape[1], generator=random, dtype=torch.float64)
    return float(drawn[0]), drawn[1:]


def assert_same_loss(factor: Factor, rows: Tensor) -> None:
    assert factor.rows == len(rows)
    for seed in range(5):
        intercept, weights = some_weights(rows, seed)
        expected = on_rows(rows, intercept, weights)
        assert squared_error(factor, intercept, weights) == pytest.approx(expected, rel=1e-9)


@each_case
def test_a_pass_in_blocks_has_the_loss_of_the_rows_for_any_weights(rows):
    assert_same_loss(compressed(rows).train, rows)


@each_case
def test_a_pass_in_blocks_equals_one_qr_of_all_rows(rows):
    scale = float(rows.abs().max()) * len(rows) ** 0.5 + 1
    found, expected = compressed(rows).train.raw(), factor_of(rows).r
    # R is unique only where the columns are independent; RᵀR always is.
    assert torch.allclose(found.mT @ found, expected.mT @ expected, rtol=0, atol=1e-13 * scale**2)
    if len(rows) == 200 and float(rows.abs().max()) < 100:
        assert torch.allclose(found, expected, rtol=0, atol=1e-12 * scale)


@each_case
def test_r_is_upper_triangular_with_a_diagonal_that_is_not_negative(rows):
    r = compressed(rows).train.r
    assert torch.equal(r, r.triu())
    assert (r.diagonal() >= 0).all()


@each_case
@pytest.mark.parametrize("cuts", [[1], [2, 3], [10, 11, 40]])
def test_merging_in_any_grouping_gives_the_same_loss(rows, cuts):
    parts = [p for p in torch.tensor_split(rows, cuts) if len(p)]
    factors = [compressed(part).train for part in parts]
    left = factors[0]
    for factor in factors[1:]:
        left = merge([left, factor])
    right = factors[-1]
    for factor in reversed(factors[:-1]):
        right = merge([factor, right])
    for merged in (merge(factors), left, right):
        assert_same_loss(merged, rows)


def test_a_tree_of_merges_of_more_than_64_factors_has_the_loss_of_all_rows():
    rows = random_rows(500, 2)
    assert_same_loss(merge([compressed(part).train for part in rows.split(3)]), rows)


def test_merging_is_the_same_to_the_last_bit_every_time():
    factors = [compressed(part).train for part in random_rows(300, 4).split(30)]
    assert torch.equal(merge(factors).r, merge(factors).r)


def test_an_empty_factor_adds_nothing():
    factor = compressed(random_rows(20, 2)).train
    merged = merge([Factor.empty(factor.columns), factor, Factor.empty(factor.columns)])
    assert torch.equal(merged.r, factor.r)
    assert merged.rows == 20


def test_the_merge_of_empty_factors_is_empty():
    merged = merge([Factor.empty(("x", "y"))] * 3)
    assert merged.rows == 0
    assert not merged.r.any()


def test_the_merge_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="at least one"):
        merge([])


def test_a_column_that_only_one_factor_has_is_zero_in_the_rows_of_the_others():
    a, b = random_rows(30, 2, seed=1, far=5.0), random_rows(40, 3, seed=2, far=5.0)
    padded = torch.cat([a[:, :2], torch.zeros(30, 1, dtype=torch.float64), a[:, 2:]], dim=1)
    merged = merge([compressed(a).train, compressed(b).train])
    assert merged.columns == ("x0", "x1", "x2", "y")
    assert_same_loss(merged, torch.cat([padded, b]))


def test_another_shift_leaves_the_loss_as_it_was():
    rows = random_rows(50, 2, far=100.0)
    factor = compressed(rows).train
    assert_same_loss(factor.shifted_to(torch.tensor([5.0, -7.0, 1e3]).double()), rows)


@pytest.mark.parametrize("names", [("x2", "x0"), ("x1",), (), ("x2", "x1", "x0")])
def test_selected_columns_have_the_loss_of_the_rows_with_those_columns(names):
    rows = random_rows(50, 3, far=10.0)
    factor = compressed(rows).train.select((*names, "y"))
    places = [int(name[1]) for name in names]
    assert_same_loss(factor, rows[:, [*places, 3]])


def test_the_mean_and_the_deviation_can_be_read_off_r():
    rows = random_rows(100, 2, far=50.0)
    r = compressed(rows).train.raw()
    assert torch.allclose(r[0, 1:] / r[0, 0], rows.mean(dim=0), rtol=1e-14)
    assert float(r[0, 0]) == pytest.approx(10.0, rel=1e-14)
    spread = r[1:, 1:].square().sum(dim=0) / 100
    assert torch.allclose(spread, rows.var(dim=0, correction=0), rtol=1e-11)


def test_total_squares_are_about_the_mean():
    rows = random_rows(60, 2, far=1e4)
    expected = float((rows[:, -1] - rows[:, -1].mean()).square().sum())
    assert total_squares(compressed(rows).train) == pytest.approx(expected, rel=1e-10)


def test_plain_values_bring_back_every_bit():
    factor = compressed(random_rows(20, 3, far=0.1)).train
    again = Factor.from_dict(factor.to_dict())
    assert (again.columns, again.rows) == (factor.columns, factor.rows)
    assert torch.equal(again.r, factor.r)
    assert torch.equal(again.shift, factor.shift)


@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e150])
def test_folding_is_as_good_as_householder_whatever_the_scale(scale):
    rows = random_rows(400, 3) * scale
    r = None
    for block in rows.split(100):
        r = fold(r, block)
    assert torch.allclose(r / scale, triangle(rows) / scale, rtol=0, atol=1e-12)


@pytest.mark.parametrize("d", [6, 7, 8, 22])
def test_a_long_first_block_is_folded_as_by_householder(d):
    rows = random_rows(12_000, d)
    expected = triangle(rows)
    assert torch.allclose(fold(None, rows), expected, rtol=0, atol=1e-13 * float(expected.max()))


@pytest.mark.parametrize("apart", [1e-3, 1e-7, 1e-11])
def test_nearly_collinear_columns_keep_what_tells_them_apart(apart):
    rows = random_rows(4_000, 3)
    far = random_rows(4_000, 1, seed=3)[:, 0]
    rows[:, 1] = rows[:, 0] + apart * far
    r = None
    for block in rows.split(1_000):
        r = fold(r, block)
    # what is left of column 1 beside column 0: found from the difference, which is exact
    gap = rows[:, 1] - rows[:, 0]
    left = (gap - rows[:, 0] * (gap @ rows[:, 0]) / rows[:, 0].square().sum()).norm()
    assert float(r[1, 1]) == pytest.approx(float(left), rel=1e-14 / apart)


@pytest.mark.parametrize("later", [1e-9, 1e9])
def test_blocks_of_very_different_size_are_folded_without_loss(later):
    first, second = random_rows(100, 3), random_rows(100, 3, seed=5) * later
    scale = max(1.0, later)
    folded = fold(fold(None, first), second) / scale
    assert torch.allclose(folded, triangle(torch.cat([first, second])) / scale, atol=1e-13)
