"""Which files a window holds, and what forgetting does to the exact fit."""

from datetime import UTC, datetime, timedelta

import pytest
import torch

from plumbline.config.loading import validated
from plumbline.config.rows import Window
from plumbline.data.files import DataFile, in_window
from plumbline.errors import InputError
from plumbline.linear.factor import merge
from plumbline.linear.least_squares import least_squares, squared_error
from tests.plumbline.tools import factor_of, random_rows

NOW = datetime(2026, 6, 10, 12, tzinfo=UTC)


def files(*ages: timedelta) -> tuple[DataFile, ...]:
    """Files a, b, c ... that were changed so long before NOW."""
    return tuple(
        DataFile(name := f"{chr(97 + i)}.csv", name, 1, int((NOW - age).timestamp() * 1e9))
        for i, age in enumerate(ages)
    )


def names(chosen: tuple[DataFile, ...]) -> str:
    return "".join(file.name[0] for file in chosen)


@pytest.mark.parametrize(
    ("window", "inside", "outside"),
    [
        (None, "abc", ""),
        ({"files": 2}, "bc", "a"),
        ({"files": 9}, "abc", ""),
        ({"since": "3d"}, "ac", "b"),
        ({"since": "90m"}, "c", "ab"),
        ({"since": "2w"}, "abc", ""),
        ({"since": "2026-06-08"}, "ac", "b"),
        ({"since": "2026-06-10T13:30:00+02:00"}, "c", "ab"),
        ({"half_life": 1.5}, "abc", ""),
    ],
)
def test_a_window_splits_the_files(window, inside, outside):
    listed = files(timedelta(days=2), timedelta(days=5), timedelta(minutes=5))
    chosen = in_window(listed, window and Window(**window), NOW)
    assert (names(chosen.files), names(chosen.left_out)) == (inside, outside)


def test_a_window_that_holds_no_file_is_refused_with_the_newest_ones_time():
    with pytest.raises(InputError, match=r"Got '1h'; the newest of 1 .* 2026-06-08 12:00 UTC"):
        in_window(files(timedelta(days=2)), Window(since="1h"), NOW)


def test_a_file_of_unknown_age_is_refused():
    with pytest.raises(InputError, match=r"the time of the last change of a.csv is unknown"):
        in_window((DataFile("a.csv", "a.csv", 1, 0),), Window(since="1h"), NOW)


@pytest.mark.parametrize(
    ("window", "told"),
    [
        ({}, "data.window must be exactly one of files, since and half_life. Got none"),
        ({"files": 1, "since": "1d"}, "Got files and since"),
        ({"since": "yesterday"}, "data.window.since must be a date"),
        ({"since": "30"}, "data.window.since must be a date"),
        ({"since": "99999999999w"}, "data.window.since must be a date"),
        ({"half_life": 0}, "window.half_life must be a number > 0"),
    ],
)
def test_a_wrong_window_is_refused(window, told):
    data = {"kind": "table", "path": "a.csv", "target": "y", "window": window}
    with pytest.raises(InputError) as caught:
        validated({"experiment": "e", "data": data}, "c.yaml")
    assert told in str(caught.value)


@pytest.mark.parametrize("bias", [True, False])
def test_weighted_factors_give_the_weighted_least_squares_fit(bias):
    parts = [random_rows(n, 3, seed=n) for n in (20, 30, 7)]
    weights = [0.125, 0.5, 1.0]
    factors = [factor_of(p).weighted(w) for p, w in zip(parts, weights, strict=True)]
    whole = merge(factors)
    fit = least_squares(whole, bias)

    rows = torch.cat(parts)
    w = torch.cat(
        [torch.full((len(p),), v, dtype=torch.float64) for p, v in zip(parts, weights, strict=True)]
    )
    x, y = rows[:, :-1], rows[:, -1]
    x = torch.cat([torch.ones(len(x), 1, dtype=torch.float64), x], dim=1) if bias else x
    normal = x.mT @ (w[:, None] * x)
    expected = torch.linalg.solve(normal, x.mT @ (w * y))
    residual = y - x @ expected
    rss = float((w * residual.square()).sum())
    found = [fit.intercept, *fit.weights] if bias else fit.weights

    assert whole.rows == 57
    assert whole.weight == pytest.approx(float(w.sum()), rel=1e-14)
    assert list(map(float, found)) == pytest.approx(expected.tolist(), rel=1e-10)
    assert fit.mse == pytest.approx(rss / float(w.sum()), rel=1e-12)
    variance = rss / (float(w.sum()) - x.shape[1])
    errors = (torch.linalg.inv(normal).diagonal() * variance).sqrt()
    known = [fit.intercept_error, *fit.errors] if bias else fit.errors
    assert list(known) == pytest.approx(errors.tolist(), rel=1e-10)
    assert squared_error(whole, fit.intercept, fit.weights) == pytest.approx(rss, rel=1e-10)


def test_a_weight_of_one_changes_no_bit():
    rows = random_rows(50, 3, seed=1)
    factor = factor_of(rows)
    assert torch.equal(factor.weighted(1.0).r, factor.r)
    assert merge([factor, factor]).weight == 100


def test_weighting_twice_multiplies_and_a_weight_of_zero_forgets():
    old, new = factor_of(random_rows(50, 2, seed=1)), factor_of(random_rows(40, 2, seed=2))
    once, twice = old.weighted(0.25), old.weighted(0.5).weighted(0.5)
    torch.testing.assert_close(once.r, twice.r, rtol=1e-15, atol=0)
    forgotten = least_squares(merge([old.weighted(2.0**-5000), new]))
    torch.testing.assert_close(forgotten.weights, least_squares(new).weights)
    assert forgotten.mse == pytest.approx(least_squares(new).mse)
