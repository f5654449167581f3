"""How good a model is: exact from the R factors, and what needs rows from the sample."""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import nn

from plumbline.config.schema import Split
from plumbline.data.blocks import WEIGHT
from plumbline.data.split import share_rows
from plumbline.linear.dataset import Dataset
from plumbline.linear.factor import Factor
from plumbline.linear.least_squares import excess, least_squares, squared_error, total_squares
from plumbline.linear.summary import Summary
from plumbline.training.model import Exp, LinearModel
from plumbline.training.trained import Trained


def evaluate(trained: Trained, data: Summary) -> dict[str, float]:
    """The metrics of a line; those that the data cannot give are left out.

    Units: mse in the target's squared, rmse and mae in the target's; of its logarithm with
    data.log_target.

    Returns:
        train_mse, train_rmse, train_r2, and with held-out rows test_mse, test_rmse, test_r2;
        optimal_mse (the exact least-squares loss on the training rows), optimality_gap (train_mse
        above it), condition_number; largest_stable_learning_rate and epochs_expected if they are
        known; test_mae, or train_mae if no row is held out, on the sample of those rows;
        penalty_strength with a penalty.
    """
    model, plan = trained.line, trained.exact
    best = plan.optimum
    metrics = {
        **r_scores("train", model, data.train),
        **r_scores("test", model, data.test),
        "optimal_mse": best.mse,
        "optimality_gap": excess(data.train, model.intercept, model.weights, best),
        "condition_number": best.condition,
        "test_mae" if data.test.rows else "train_mae": mean_absolute_error(model, data),
    }
    if plan.largest_stable_rate is not None:
        metrics["largest_stable_learning_rate"] = plan.largest_stable_rate
    if plan.epochs_expected is not None:
        metrics["epochs_expected"] = float(plan.epochs_expected)
    if plan.penalized:
        metrics["penalty_strength"] = plan.penalized.path.strength
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def row_scores(
    share: str, module: nn.Module, data: Dataset, split: Split, features: Sequence[str] = ()
) -> dict[str, float]:
    """A share's mse, rmse, r2 and mae on every row, which are read for it; empty without rows.

    Args:
        share: "train" or "test".
        module: raw features, (n, d) float64, to (n, 1) in the target's own units.
        data: where the rows are.
        split: which rows fall into the share.
        features: the module's; default: the data's.
    """
    factor = getattr(data.summary, share)
    if not factor.rows:
        return {}
    features = features or data.encoding.features
    squares = absolute = weight = first = second = 0.0
    centre = data.in_own_units(factor.means[-1])
    for rows in share_rows(data.source, split, (share,), (*features, data.target, WEIGHT)):
        given, observed, weights = rows[:, :-2], data.in_own_units(rows[:, -2]), rows[:, -1]
        with torch.no_grad():
            error = observed - module(given)[:, 0]
        squares += float((weights * error.square()).sum())
        absolute += float((weights * error.abs()).sum())
        weight += float(weights.sum())
        first += float((weights * (observed - centre)).sum())
        second += float((weights * (observed - centre).square()).sum())
    mse, total = squares / weight, total_squares(factor) / factor.weight
    if data.encoding.log_target and total:  # R's total is of the logarithms
        total = second / weight - (first / weight) ** 2
    scores = {
        "mse": mse,
        "rmse": math.sqrt(mse),
        "r2": 1 - mse / total if total > 0 else math.nan,
        "mae": absolute / weight,
    }
    return {f"{share}_{name}": value for name, value in scores.items() if math.isfinite(value)}


@lru_cache(2)
def baselines(data: Summary, bias: bool) -> dict[str, float]:
    """What a model must beat on the held-out rows: predicting the mean, and the exact line.

    Both are fitted on every row that is not held out for testing; exactly, from R. Computed once
    for all trials on the same rows.

    Returns:
        mean_test_rmse and linear_test_rmse if rows are held out, and what cross_validation gives.
    """
    validated = cross_validation(data, bias)
    if not data.test.rows:
        return validated
    best = least_squares(data.train_and_validation, bias)
    models = {"mean": mean_model(data), "linear": LinearModel(best.intercept, best.weights)}
    return validated | {
        f"{name}_test_rmse": r_scores("test", model, data.test)["test_rmse"]
        for name, model in models.items()
    }


def mean_model(data: Summary) -> LinearModel:
    """The model that always predicts the mean of the rows that are not held out for testing."""
    factor = data.train_and_validation
    weights = torch.zeros(len(factor.columns) - 1, dtype=torch.float64)
    return LinearModel(float(factor.means[-1]), weights)


@lru_cache(2)
def streamed_baselines(data: Dataset, split: Split, bias: bool) -> dict[str, float]:
    """What `baselines` gives on held-out rows, in the target's own units, from the rows: predicting
    the mean, and the exponential of the exact line of the logarithm; empty if none are held out."""
    if not data.summary.test.rows:
        return {}
    total = weight = 0.0
    for rows in share_rows(data.source, split, ("train", "validation"), (data.target, WEIGHT)):
        total += float(rows[:, 1] @ data.in_own_units(rows[:, 0]))
        weight += float(rows[:, 1].sum())
    best = least_squares(data.summary.train_and_validation, bias)
    models = {
        "mean": LinearModel(total / weight, torch.zeros_like(best.weights)),
        "linear": nn.Sequential(LinearModel(best.intercept, best.weights), Exp()),
    }
    return {
        f"{name}_test_rmse": row_scores("test", model, data, split)["test_rmse"]
        for name, model in models.items()
    }


def held_out_scores(model: LinearModel, data: Summary) -> dict[str, float]:
    """test_mse, test_rmse, test_r2 and test_mae of a linear model; empty if no row is held out."""
    if not data.test.rows:
        return {}
    scores = {**r_scores("test", model, data.test), "test_mae": mean_absolute_error(model, data)}
    return {name: value for name, value in scores.items() if math.isfinite(value)}


def mean_absolute_error(model: nn.Module, data: Summary) -> float:
    """Mean |y - ŷ| over the rows of the sample; R does not know it."""
    rows, weights = data.sample.rows, data.sample.weights
    if not len(rows):
        return math.nan
    error = (rows[:, -1] - model(rows[:, :-1])[:, 0]).abs()
    return float((weights * error).sum() / weights.sum())


def cross_validation(data: Summary, bias: bool) -> dict[str, float]:
    """Root mean squared error of the exact fit to all folds but one, on that one: mean, deviation.

    Of the exact unpenalised fit, whatever is trained; hence the names. Folds without
    rows, or whose complement is empty, count for nothing.
    """
    errors = []
    for others, held in data.fold_pairs:
        fit = least_squares(others, bias)
        error = squared_error(held, fit.intercept, fit.weights)
        errors.append(math.sqrt(error / held.weight))
    if not errors:
        return {}
    found = torch.tensor(errors, dtype=torch.float64)
    mean, deviation = float(found.mean()), float(found.std(correction=0))
    return {"linear_cv_rmse_mean": mean, "linear_cv_rmse_std": deviation}


def r_scores(share: str, model: LinearModel, factor: Factor) -> dict[str, float]:
    """A share's mse, rmse and r2 of a linear model on every row, from R; empty without rows."""
    if not factor.rows:
        return {}
    sse = squared_error(factor, model.intercept, model.weights)
    total = total_squares(factor)
    mse = sse / factor.weight
    r2 = 1 - sse / total if total > 0 else math.nan
    return {f"{share}_mse": mse, f"{share}_rmse": math.sqrt(mse), f"{share}_r2": r2}
