"""Certified values of NIST, rational arithmetic and closed forms."""

import math
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from plumbline.config.schema import Split
from plumbline.linear.compress import compress
from plumbline.linear.least_squares import (
    LeastSquares,
    excess,
    least_squares,
    squared_error,
)
from plumbline.linear.summary import combine
from tests.plumbline.tools import Rows, compressed, exact_fit, factor_of, random_rows, read, write

NUMBER = r"-?\d*\.?\d+(?:E[-+]?\d+)?"


@dataclass(frozen=True)
class Certified:
    coefficients: list[float]
    errors: list[float]
    deviation: float
    r2: float
    x: list[int | float]
    y: list[float]


def nist(name: str) -> Certified:
    """The certified values and the data of one .dat file."""
    text = (Path(__file__).parents[2] / "nist" / f"{name}.dat").read_text()
    found = re.findall(rf"^\s+B\d\s+({NUMBER})\s+({NUMBER})", text, re.M)
    deviation = re.search(rf"Standard Deviation\s+({NUMBER})", text)
    r2 = re.search(rf"R-Squared\s+({NUMBER})", text)
    start = re.search(r"^Data:\s+y\s+x\s*$", text, re.M).end()
    rows = [[float(v) for v in line.split()] for line in text[start:].strip().splitlines()]
    return Certified(
        [float(b) for b, _ in found],
        [float(e) for _, e in found],
        float(deviation[1]),
        float(r2[1]),
        [x for _, x in rows],
        [y for y, _ in rows],
    )


def digits(found: float, certified: float) -> float:
    """LRE: correct significant digits, at most 15; of the absolute error where the value is 0."""
    off = abs(found - certified) / (abs(certified) or 1.0)
    return 15.0 if off == 0 else min(15.0, -math.log10(off))


# The degree of the polynomial, and the digits of the coefficients that a float64 QR can give.
SETS = {"Norris": (1, 11.7), "Pontius": (2, 11.7), "Wampler1": (5, 9.2), "NoInt1": (1, 14.0)}
LAYOUTS = ["one.csv", "many.csv", "one.parquet", "many.parquet"]


def fitted(name: str, layout: str, folder: Path) -> LeastSquares:
    """The fit to a NIST set that is read from one file, or from files of four rows each."""
    data, degree = nist(name), SETS[name][0]
    columns = {f"x{k}": [x**k for x in data.x] for k in range(1, degree + 1)} | {"y": data.y}
    step = 4 if layout.startswith("many") else len(data.y)
    for i in range(0, len(data.y), step):
        part = {column: values[i : i + step] for column, values in columns.items()}
        write(folder / f"{i:03}.{layout.split('.')[1]}", part)
    return least_squares(read(folder).train, bias=name != "NoInt1")


each_set = pytest.mark.parametrize("name", SETS)
each_layout = pytest.mark.parametrize("layout", LAYOUTS)


@each_set
@each_layout
def test_nist_coefficients_have_the_digits_a_qr_can_give(name, layout, tmp_path):
    fit, data = fitted(name, layout, tmp_path), nist(name)
    found = fit.weights.tolist() if name == "NoInt1" else [fit.intercept, *fit.weights.tolist()]
    worst = min(map(digits, found, data.coefficients))
    # Where files are cut decides the last bits: over all cuts the digits vary by one or two.
    assert worst >= SETS[name][1] - (0.5 if layout.startswith("many") else 0.0)
    assert len(found) == len(data.coefficients)


@each_set
@each_layout
def test_nist_statistics_have_nine_digits(name, layout, tmp_path):
    fit, data = fitted(name, layout, tmp_path), nist(name)
    errors = [*([] if name == "NoInt1" else [fit.intercept_error]), *fit.errors]
    found = [fit.residual_deviation, fit.r2, *errors]
    certified = [data.deviation, data.r2, *data.errors]
    assert len(found) == len(certified)
    # Where the certified value is 0 (a perfect fit) what is left is rounding of y, 3e6 at most.
    assert all(
        digits(f, c) >= 9 if c else abs(f) < 1e-6 for f, c in zip(found, certified, strict=True)
    )


# Longley (1967): the GNP deflator, the GNP, unemployed, armed forces, population, year; employed.
LONGLEY = """83 234289 2356 1590 107608 1947 60323
88.5 259426 2325 1456 108632 1948 61122
88.2 258054 3682 1616 109773 1949 60171
89.5 284599 3351 1650 110929 1950 61187
96.2 328975 2099 3099 112075 1951 63221
98.1 346999 1932 3594 113270 1952 63639
99 365385 1870 3547 115094 1953 64989
100 363112 3578 3350 116219 1954 63761
101.2 397469 2904 3048 117388 1955 66019
104.6 419180 2822 2857 118734 1956 67857
108.4 442769 2936 2798 120445 1957 68169
110.8 444546 4681 2637 121950 1958 66513
112.6 482704 3813 2552 123366 1959 68655
114.2 502601 3931 2514 125368 1960 69564
115.7 518173 4806 2572 127852 1961 69331
116.9 554894 4007 2827 130081 1962 70551"""
CERTIFIED = [-3482258.63459582, 15.0618722713733, -0.0358191792925910, -2.02022980381683,
             -1.03322686717359, -0.0511041056535807, 1829.15146461355]  # fmt: skip


@pytest.mark.parametrize("step", [1, 4, 16])
def test_longley_keeps_its_thirteen_digits(step):
    rows = [[float(v) for v in line.split()] for line in LONGLEY.splitlines()]
    source = Rows({"a": torch.tensor(rows, dtype=torch.float64)}, step)
    fit = least_squares(combine([compress(source, "a", Split())]).train)
    found = [fit.intercept, *fit.weights.tolist()]
    assert min(map(digits, found, CERTIFIED)) >= 12.9
    assert fit.equals == {}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("far", [0.0, 1e3, 1e6])
def test_the_fit_is_the_rational_one(bias, far):
    rows = random_rows(30, 2, far=far)
    exact, rss = exact_fit(rows, bias)
    fit = least_squares(compressed(rows).train, bias)
    found = [fit.intercept, *fit.weights.tolist()] if bias else fit.weights.tolist()
    for value, expected in zip(found[-2:], exact[-2:], strict=True):
        assert value == pytest.approx(float(expected), rel=1e-10)
    assert fit.rss == pytest.approx(float(rss), rel=1e-8)


def test_weights_of_data_far_from_zero_keep_twelve_digits():
    rows = random_rows(200, 2, far=1e6)
    exact, _ = exact_fit(rows)
    fit = least_squares(compressed(rows).train)
    assert all(
        digits(f, float(e)) >= 12 for f, e in zip(fit.weights.tolist(), exact[1:], strict=True)
    )


@pytest.mark.parametrize("bias", [True, False])
def test_standard_errors_are_those_of_the_covariance_matrix(bias):
    rows = random_rows(40, 3, far=2.0)
    design = torch.cat([torch.ones(40, 1).double(), rows[:, :-1]], dim=1)[:, 0 if bias else 1 :]
    fit = least_squares(compressed(rows).train, bias)
    spread = fit.residual_deviation * torch.linalg.inv(design.mT @ design).diagonal().sqrt()
    found = [fit.intercept_error, *fit.errors] if bias else list(fit.errors)
    assert found == pytest.approx(spread.tolist(), rel=1e-9)
    assert fit.residual_deviation**2 * (40 - design.shape[1]) == pytest.approx(fit.rss)


@pytest.mark.parametrize("bias", [True, False])
def test_t_values_are_coefficients_in_standard_errors(bias):
    fit = least_squares(compressed(random_rows(40, 2)).train, bias)
    table = fit.coefficients
    assert [line.name for line in table] == ["intercept", "x0", "x1"]
    expected = [w / e for w, e in zip(fit.weights.tolist(), fit.errors, strict=True)]
    assert [line.t_value for line in table[1:]] == expected
    assert table[0].t_value == (fit.intercept / fit.intercept_error if bias else None)


def test_columns_that_others_determine_are_named():
    rows = random_rows(50, 4)
    rows[:, 1] = 4.2
    rows[:, 3] = 2 * rows[:, 0] - 1
    fit = least_squares(compressed(rows).train)
    assert fit.equals == {"x1": {"intercept": 4.2}, "x3": {"x0": 2.0, "intercept": -1.0}}
    assert (fit.rank, fit.condition) == (3, math.inf)
    assert [error is None for error in fit.errors] == [False, True, False, True]


def test_collinear_columns_still_reach_the_least_loss():
    rows = random_rows(50, 3, far=1.0)
    rows[:, 1] = 2 * rows[:, 0]
    fit = least_squares(compressed(rows).train)
    _, rss = exact_fit(rows[:, [0, 2, 3]])
    assert fit.rss == pytest.approx(float(rss), rel=1e-9)
    on_rows = rows[:, -1] - fit.intercept - rows[:, :-1] @ fit.weights
    assert float(on_rows.square().sum()) == pytest.approx(float(rss), rel=1e-9)


def test_many_rows_do_not_turn_good_columns_into_collinear_ones():
    # A cutoff that grows with n throws the second column away (scikit-learn #33032).
    random = torch.Generator().manual_seed(0)
    x = torch.randn(100_000, 1, generator=random, dtype=torch.float64)
    other = x + 1e-10 * torch.randn(100_000, 1, generator=random, dtype=torch.float64)
    fit = least_squares(factor_of(torch.cat([x, other, x + other], dim=1)))
    assert (fit.rank, fit.equals) == (3, {})


@pytest.mark.parametrize("n", [1, 2, 3])
def test_fewer_rows_than_columns_are_fitted_exactly_and_without_errors(n):
    rows = random_rows(n, 5)
    fit = least_squares(compressed(rows).train)
    predicted = fit.intercept + rows[:, :-1] @ fit.weights
    assert torch.allclose(predicted, rows[:, -1], atol=1e-10)
    assert (fit.rank, fit.residual_deviation, fit.intercept_error) == (n, None, None)
    assert set(fit.errors) == {None}


def test_a_constant_target_has_no_r2():
    rows = random_rows(20, 1)
    rows[:, -1] = 3.0
    fit = least_squares(compressed(rows).train)
    assert fit.r2 is None
    assert fit.intercept == pytest.approx(3.0)
    assert fit.rss == pytest.approx(0.0, abs=1e-20)


@pytest.mark.parametrize("bias", [True, False])
def test_a_feature_of_zeros_gets_no_weight(bias):
    rows = torch.tensor([[0.0, 1.0], [0.0, 2.0], [0.0, 6.0]], dtype=torch.float64)
    fit = least_squares(compressed(rows).train, bias)
    assert fit.weights.tolist() == [0.0]
    assert fit.intercept == pytest.approx(3.0 if bias else 0.0)
    assert fit.mse == pytest.approx(14 / 3 if bias else 41 / 3)
    assert fit.equals == {"x0": {}}


def test_the_excess_keeps_its_digits_where_a_difference_of_losses_has_none():
    rows = random_rows(50, 2, far=10.0)
    factor = compressed(rows).train
    best = least_squares(factor)
    step = torch.tensor([1e-9, -1e-9], dtype=torch.float64)
    moved = float((rows[:, :-1] @ step).square().mean())
    assert excess(factor, best.intercept, best.weights + step, best) == pytest.approx(
        moved, rel=1e-5
    )
    there = squared_error(factor, best.intercept, best.weights) / 50
    assert there == pytest.approx(best.mse, rel=1e-12)
