"""How good a model is: exact from the R factors, and what needs rows from the sample."""

import math
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from plumbline.linear.factor import Factor, merge
from plumbline.linear.least_squares import excess, least_squares, squared_error, total_squares
from plumbline.linear.summary import Summary
from plumbline.training.loop import Trained


class Line(Protocol):
    """Any model y = intercept + x · weights, in raw units; weights (d,) float64."""

    @property
    def intercept(self) -> float: ...

    @property
    def weights(self) -> Tensor: ...


def evaluate(trained: Trained, data: Summary, bias: bool = True) -> dict[str, float]:
    """The metrics of a trained model; those that the data cannot give are left out.

    Units: mse in the target's squared, rmse and mae in the target's.

    Returns:
        train_mse, train_rmse, train_r2, and with held-out rows test_mse, test_rmse, test_r2;
        optimal_mse (the exact least-squares loss on the training rows), optimality_gap (train_mse
        above it), condition_number, largest_stable_learning_rate; test_mae, or train_mae if no
        row is held out, on the sample of those rows; linear_cv_rmse_mean and _std with folds.
    """
    best = trained.plan.optimum
    metrics = {
        **_scores("train", trained, data.train),
        **_scores("test", trained, data.test),
        "optimal_mse": best.mse,
        "optimality_gap": excess(data.train, trained.intercept, trained.weights, best),
        "condition_number": best.condition,
        "test_mae" if data.test.rows else "train_mae": mean_absolute_error(trained, data),
        **cross_validation(data, trained.names, bias),
    }
    if trained.plan.stable_rate is not None:
        metrics["largest_stable_learning_rate"] = trained.plan.stable_rate
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def held_out_scores(line: Line, data: Summary) -> dict[str, float]:
    """test_mse, test_rmse, test_r2 and test_mae of any line; empty if no row is held out."""
    if not data.test.rows:
        return {}
    scores = {**_scores("test", line, data.test), "test_mae": mean_absolute_error(line, data)}
    return {name: value for name, value in scores.items() if math.isfinite(value)}


def mean_absolute_error(line: Line, data: Summary) -> float:
    """Mean |y - ŷ| over the sample; R does not know it."""
    rows = data.sample.rows
    if not len(rows):
        return math.nan
    predicted = line.intercept + rows[:, :-1] @ line.weights
    return float((rows[:, -1] - predicted).abs().mean())


@lru_cache(2)
def cross_validation(data: Summary, names: tuple[str, ...], bias: bool) -> dict[str, float]:
    """Root mean squared error of the exact fit to all folds but one, on that one: mean, deviation.

    Of the exact unpenalised fit, whatever is trained; hence the names. Folds without
    rows, or whose complement is empty, count for nothing. Computed once for all trials on the
    same rows.
    """
    errors = []
    columns = (*names, data.columns[-1])
    for number, held in enumerate(data.folds):
        others = [factor for i, factor in enumerate(data.folds) if i != number and factor.rows]
        if held.rows and others:
            fit = least_squares(merge(others).select(columns), bias)
            error = squared_error(held.select(columns), fit.intercept, fit.weights) / held.weight
            errors.append(math.sqrt(error))
    if not errors:
        return {}
    found = torch.tensor(errors, dtype=torch.float64)
    mean, deviation = float(found.mean()), float(found.std(correction=0))
    return {"linear_cv_rmse_mean": mean, "linear_cv_rmse_std": deviation}


def _scores(share: str, line: Line, factor: Factor) -> dict[str, float]:
    if not factor.rows:
        return {}
    sse = squared_error(factor, line.intercept, line.weights)
    total = total_squares(factor)
    mse = sse / factor.weight
    r2 = 1 - sse / total if total > 0 else math.nan
    return {f"{share}_mse": mse, f"{share}_rmse": math.sqrt(mse), f"{share}_r2": r2}
