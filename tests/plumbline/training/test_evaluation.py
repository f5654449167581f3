"""Metrics from the factors are the ones worked out on the rows."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from plumbline.config.schema import Split, Training
from plumbline.data.split import row_hashes
from plumbline.linear.least_squares import least_squares
from plumbline.linear.summary import Summary
from plumbline.training.evaluation import (
    _largest,
    cross_validation,
    evaluate,
    mean_absolute_error,
)
from plumbline.training.loop import train_linear
from plumbline.training.plan import make_plan
from plumbline.training.trained import Trained
from tests.plumbline.tools import compressed, random_rows

ROWS = random_rows(300, 3, far=2.0)
each_bias = pytest.mark.parametrize("bias", [True, False])


def trained_on(data: Summary, **keys: object) -> Trained:
    training = Training(**{"epochs": 20, "learning_rate": 0.01, **keys})
    return train_linear(make_plan(data, training), training, "cpu", lambda epoch, loss: None)


def residuals(trained: Trained, rows: Tensor) -> Tensor:
    return rows[:, -1] - trained.module.intercept - rows[:, :-1] @ trained.module.weights


def held_out(split: Split, n: int) -> Tensor:
    return row_hashes(split.seed, "rows", 0, n, "test") < split.test_fraction


def lstsq(rows: Tensor, bias: bool) -> Tensor:
    """(d + 1,) the least-squares fit by torch's own solver, intercept first."""
    x = torch.cat([torch.ones(len(rows), 1).double(), rows[:, :-1]], dim=1)[:, 0 if bias else 1 :]
    found = torch.linalg.lstsq(x, rows[:, -1:], driver="gelsd").solution[:, 0]
    return found if bias else torch.cat([torch.zeros(1).double(), found])


@each_bias
def test_scores_are_those_of_the_rows(bias):
    split = Split(test_fraction=0.3)
    data = compressed(ROWS, split)
    trained = trained_on(data, bias=bias)
    metrics = evaluate(trained, data)
    held = held_out(split, 300)
    for share, rows in (("train", ROWS[~held]), ("test", ROWS[held])):
        errors, y = residuals(trained, rows), rows[:, -1]
        mse = float(errors.square().mean())
        r2 = 1 - float(errors.square().sum() / (y - y.mean()).square().sum())
        assert metrics[f"{share}_mse"] == pytest.approx(mse, rel=1e-9)
        assert metrics[f"{share}_rmse"] == pytest.approx(math.sqrt(mse), rel=1e-9)
        assert metrics[f"{share}_r2"] == pytest.approx(r2, rel=1e-9)
        assert metrics[f"{share}_mae"] == pytest.approx(float(errors.abs().mean()), rel=1e-9)


@each_bias
def test_the_optimum_and_the_gap_are_those_of_the_rows(bias):
    data = compressed(ROWS)
    trained = trained_on(data, bias=bias)
    metrics = evaluate(trained, data)
    best = lstsq(ROWS, bias)
    least = float((ROWS[:, -1] - best[0] - ROWS[:, :-1] @ best[1:]).square().mean())
    assert metrics["optimal_mse"] == pytest.approx(least, rel=1e-9)
    assert metrics["train_mse"] - least == pytest.approx(metrics["optimality_gap"], rel=1e-6)


def test_the_gap_after_many_epochs_is_below_what_a_difference_could_tell():
    data = compressed(ROWS)
    metrics = evaluate(trained_on(data, epochs=3000, learning_rate="auto"), data)
    assert 0 <= metrics["optimality_gap"] < 1e-20


@each_bias
@pytest.mark.parametrize("folds", [2, 5])
@pytest.mark.parametrize("fraction", [0.0, 0.2])
def test_k_fold_from_factors_is_k_fold_on_rows(folds, fraction, bias):
    split = Split(folds=folds, test_fraction=fraction)
    data = compressed(ROWS, split)
    kept = ~held_out(split, 300)
    fold = (row_hashes(split.seed, "rows", 0, 300, "fold") * folds).floor()
    errors = []
    for k in range(folds):
        best = lstsq(ROWS[kept & (fold != k)], bias)
        left = ROWS[kept & (fold == k)]
        off = left[:, -1] - best[0] - left[:, :-1] @ best[1:]
        errors.append(math.sqrt(float(off.square().mean())))
    found = cross_validation(data, bias)
    mean = sum(errors) / folds
    assert found["linear_cv_rmse_mean"] == pytest.approx(mean, rel=1e-9)
    spread = math.sqrt(sum((e - mean) ** 2 for e in errors) / folds)
    assert found["linear_cv_rmse_std"] == pytest.approx(spread, rel=1e-6)


def test_folds_without_rows_count_for_nothing():
    found = cross_validation(compressed(ROWS[:3], Split(folds=50)), True)
    assert math.isfinite(found["linear_cv_rmse_mean"])


def test_without_folds_there_is_no_cross_validation():
    data = compressed(ROWS)
    assert cross_validation(data, True) == {}


def test_without_held_out_rows_there_are_no_test_scores():
    data = compressed(ROWS)
    trained = trained_on(data)
    metrics = evaluate(trained, data)
    assert not any(name.startswith("test_") for name in metrics)
    mae = float(residuals(trained, ROWS).abs().mean())
    assert metrics["train_mae"] == pytest.approx(mae, rel=1e-9)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_every_metric_of_few_rows_is_finite(n):
    data = compressed(ROWS[:n])
    metrics = evaluate(trained_on(data), data)
    assert all(math.isfinite(value) for value in metrics.values())
    assert metrics["optimal_mse"] == pytest.approx(0.0, abs=1e-20)


def test_a_constant_target_has_no_r2():
    rows = ROWS.clone()
    rows[:, -1] = 5.0
    data = compressed(rows)
    metrics = evaluate(trained_on(data), data)
    assert "train_r2" not in metrics
    assert "train_mse" in metrics


def test_collinear_columns_have_no_condition_number_and_everything_else():
    rows = ROWS.clone()
    rows[:, 1] = -rows[:, 0]
    data = compressed(rows)
    metrics = evaluate(trained_on(data), data)
    assert "condition_number" not in metrics
    errors = residuals(trained_on(data), rows)
    assert metrics["train_mse"] == pytest.approx(float(errors.square().mean()), rel=1e-9)


def test_the_condition_number_is_that_of_the_rows_in_any_order():
    rows = random_rows(100, 2)
    rows[17] += 1e6
    orders = (rows, rows.flip(0), rows.roll(-17, dims=0))
    one, two, three = (least_squares(compressed(each).train).condition for each in orders)
    assert one == pytest.approx(two, rel=1e-6)
    assert one == pytest.approx(three, rel=1e-6)


def test_the_mean_absolute_error_is_of_every_row_and_of_many_of_a_sample():
    rows = random_rows(5_000, 2)
    every, some = (compressed(rows, most_rows=most) for most in (5_000, 4_999))
    trained = trained_on(every)
    absolute = residuals(trained, rows).abs()
    found = mean_absolute_error(trained.module, every.sample)
    assert found == pytest.approx(float(absolute.mean()), rel=1e-12)
    off = abs(mean_absolute_error(trained.module, some.sample) - found)
    assert 0 < off < 5 * float(absolute.std()) / 1_000**0.5


def test_the_largest_of_classes_that_count_alike_does_not_depend_on_rounding():
    assert _largest(np.array([10.0, 10 * (1 + 1e-15), 9.0])) == 0
    assert _largest(np.array([9.0, 10.0])) == 1
