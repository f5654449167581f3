"""Columns that others determine are found, left out and named, whatever the cuts and the means."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from plumbline.config.schema import Split, Training
from plumbline.linear.compress import compress
from plumbline.linear.factor import Factor, fold, merge
from plumbline.linear.least_squares import LeastSquares, format_combination, least_squares
from plumbline.linear.problem import best_rate
from plumbline.linear.summary import Summary, combine
from plumbline.threads import one_thread
from plumbline.training.loop import train_linear
from plumbline.training.plan import make_plan
from plumbline.training.trained import Status
from tests.plumbline.tools import Rows, compressed, random_rows


def clock_rows(n: int, far: float = 0.0) -> Tensor:
    """A constant, hour, minute, a number about `far`, 100·hour + minute, the double of the hour."""
    random = torch.Generator().manual_seed(1)
    hour, minute = (torch.randint(top, (n,), generator=random).double() for top in (24, 60))
    number = torch.randint(1000, (n,), generator=random).double() + far
    y = hour - 0.1 * minute + torch.randn(n, generator=random, dtype=torch.float64)
    year = torch.full((n,), 2013.0, dtype=torch.float64)
    return torch.stack([year, hour, minute, number, 100 * hour + minute, 2 * hour, y], dim=1)


FOUND = {"x0": {"intercept": 2013.0}, "x4": {"x1": 100.0, "x2": 1.0}, "x5": {"x1": 2.0}}
WANTED = [1, 2, 3, 6]


def summary(rows: Tensor, files: int, step: int) -> Summary:
    parts = [Rows({"a": part}, step) for part in rows.tensor_split(files)]
    return combine(compress(part, "a", Split()) for part in parts)


def assert_as_without(fit: LeastSquares, rows: Tensor, bias: bool = True) -> None:
    """The fit of the independent columns alone, solved on the rows."""
    x = rows[:, WANTED[:-1]] - (rows[:, WANTED[:-1]].mean(dim=0) if bias else 0.0)
    x = torch.cat([torch.full_like(x[:, :1], 1.0 if bias else 2013.0), x], dim=1)
    best = torch.linalg.lstsq(x, rows[:, -1:], driver="gelsd").solution
    mse = float((rows[:, -1:] - x @ best).square().mean())
    assert fit.mse == pytest.approx(mse, rel=1e-9)
    assert fit.weights[WANTED[:-1]].tolist() == pytest.approx(best[1:, 0].tolist(), rel=1e-7)


@pytest.mark.parametrize("far", [0.0, 1e6, 1e12])
@pytest.mark.parametrize(
    ("n", "files", "step"),
    [(300, 1, 1), (2_000, 1, 2_000), (20_000, 70, 100), (100_000, 1, 32_768)],
)
def test_the_optimum_is_that_without_the_redundant_columns(n, files, step, far):
    rows = clock_rows(n, far)
    fit = least_squares(summary(rows, files, step).train)
    assert fit.equals == FOUND
    assert_as_without(fit, rows)
    left_out = [line for line in fit.coefficients if line.equals is not None]
    assert {(c.value, c.error, c.t_value) for c in left_out} == {(0.0, None, None)}
    assert fit.rank == 4


def test_standard_errors_are_those_without_the_redundant_columns():
    rows = clock_rows(5_000)
    fit, without = (least_squares(compressed(each).train) for each in (rows, rows[:, WANTED]))
    kept = [fit.intercept_error, *(fit.errors[j] for j in WANTED[:-1])]
    assert kept == pytest.approx([without.intercept_error, *without.errors], rel=1e-9)


def test_without_an_intercept_a_constant_column_stays():
    rows = clock_rows(5_000)
    fit = least_squares(summary(rows, 3, 700).train, bias=False)
    assert fit.equals == {name: FOUND[name] for name in ("x4", "x5")}
    assert_as_without(fit, rows, bias=False)


def test_weighted_rows_have_the_same_combinations():
    parts = [compressed(part).train for part in clock_rows(5_000).split(500)]
    faded = merge([part.weighted(0.5**age) for age, part in enumerate(parts)])
    assert least_squares(faded).equals == FOUND


def test_a_full_set_of_indicators_loses_its_last_one():
    level = torch.arange(1_000) % 3
    x = torch.nn.functional.one_hot(level).double()
    rows = torch.cat([x, random_rows(1_000, 0)], dim=1)
    fit = least_squares(compressed(rows).train)
    assert fit.equals == {"x2": {"x0": -1.0, "x1": -1.0, "intercept": 1.0}}
    assert least_squares(compressed(rows).train, bias=False).equals == {}


def test_a_combination_that_rounding_blurs_is_one_all_the_same():
    x = random_rows(3_000, 2, far=1e9)
    rows = torch.cat([x[:, :2], x[:, :1] + x[:, 1:2], x[:, :1] / 3, x[:, 2:]], dim=1)
    fit = least_squares(compressed(rows).train)
    assert set(fit.equals) == {"x2", "x3"}
    assert fit.equals["x2"] == {"x0": 1.0, "x1": 1.0}
    assert fit.equals["x3"]["x0"] == pytest.approx(1 / 3, rel=1e-6)


@pytest.mark.parametrize("far", [0.0, 1e6, 1e12])
def test_a_column_that_adds_little_stays_where_its_values_show_it(far):
    x = random_rows(3_000, 2)
    apart = max(1e-9, 1e-14 * far)
    rows = torch.stack([x[:, 0] + far, x[:, 0] + far + apart * x[:, 1], x[:, 2]], dim=1)
    assert least_squares(summary(rows, 5, 100).train).equals == {}


@pytest.mark.parametrize("scale", [1e-170, 1e170])
def test_columns_of_any_size_are_judged_alike(scale):
    rows = random_rows(300, 3)
    rows[:, 2] = rows[:, 0] - rows[:, 1]
    rows[:, :3] *= scale
    assert least_squares(compressed(rows).train).equals == {"x2": {"x0": 1.0, "x1": -1.0}}


def test_rounding_stays_below_the_bound_after_thousands_of_updates():
    random = torch.Generator().manual_seed(2)
    level = torch.randint(30, (2_000, 40), generator=random)
    r = None
    with one_thread():
        for some in level:
            x = torch.nn.functional.one_hot(some, 30).double()
            r = fold(r, torch.cat([torch.ones(40, 1).double(), x, x[:, :1]], dim=1))
    names = (*(f"x{i}" for i in range(30)), "y")
    factor = Factor(names, r, level.numel(), torch.zeros(31, dtype=torch.float64))
    # A tenth of the bound, so that there is a reserve.
    assert float(r[30, 30]) < 0.1 * float(factor.rounding()[29])
    assert list(least_squares(factor).equals) == ["x29"]


def test_descent_is_planned_in_the_directions_that_the_data_have():
    rows = clock_rows(4_000)
    training = Training(learning_rate="auto", standardize=True, tolerance=1e-9, epochs=500)
    plan = make_plan(compressed(rows), training)
    curvature = plan.problem.curvature(plan.optimum.rank)
    assert (curvature[:3] == 0).all()
    assert all(low <= high for low, high in pairwise(curvature.tolist()))
    assert best_rate(curvature, 0.0) == pytest.approx(2 / float(curvature[3] + curvature[-1]))
    trained = train_linear(plan, training, "cpu", lambda epoch, loss: None)
    assert trained.status is Status.STOPPED
    assert len(trained.losses) == plan.epochs_expected


@pytest.mark.parametrize(
    ("equals", "text"),
    [
        ({"hour": 100.0, "minute": 1.0}, "a = 100·hour + minute"),
        ({"x": -1.0, "z": -0.5, "intercept": 2.0}, "a = -x - 0.5·z + 2"),
        ({"intercept": 2013.0}, "a = 2013"),
        ({}, "a = 0"),
        (dict.fromkeys("bcdefgh", 1.0), "a = b + c + d + e + f + g + ... (7 terms in all)"),
        (
            {**dict.fromkeys("bcdefg", -1.0), "intercept": 1.0},
            "a = 1 - b - c - d - e - f + ... (7 terms in all)",
        ),
    ],
)
def test_a_combination_is_written_as_people_write_it(equals, text):
    assert format_combination("a", equals) == text


@pytest.mark.parametrize("bias", [True, False])
def test_what_comes_after_as_many_columns_as_rows_has_no_combination(bias):
    rows = random_rows(150, 200)
    rows[:, 180] = 4.0
    fit, most = least_squares(compressed(rows).train, bias), 150 - bias
    assert [*fit.equals] == [f"x{i}" for i in range(most, 200)]
    constant = {"x180": {"intercept": 4.0}} if bias else {"x180": None}
    assert {n: e for n, e in fit.equals.items() if e or n == "x180"} == constant
    assert fit.rank == 150
    before = least_squares(compressed(rows[:, [*range(most), 200]]).train, bias)
    assert fit.weights[:most] == pytest.approx(before.weights, rel=1e-6)


def test_few_columns_have_their_combinations_also_if_there_are_no_more_rows():
    fit = least_squares(compressed(random_rows(4, 5)).train)
    assert [*fit.equals] == ["x3", "x4"]
    assert all(len(each) == 4 for each in fit.equals.values())
