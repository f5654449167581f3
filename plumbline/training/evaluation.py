"""How good a model is, and what it must beat: exact from the R factors, or on every row."""

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from plumbline.config.schema import Config
from plumbline.data.blocks import WEIGHT
from plumbline.linear.dataset import Dataset
from plumbline.linear.factor import Factor
from plumbline.linear.least_squares import excess, least_squares, squared_error, total_squares
from plumbline.linear.sample import Sample
from plumbline.linear.summary import Summary
from plumbline.training.model import Exp, LinearModel
from plumbline.training.newton import module_of, most_likely
from plumbline.training.trained import Trained


def evaluate(trained: Trained, data: Summary) -> dict[str, float]:
    """The metrics of a line; those that the data cannot give are left out.

    Units: mse in the target's squared, rmse and mae in the target's; of its logarithm with
    data.log_target.

    Returns:
        train_mse, train_rmse, train_r2, and with held-out rows test_mse, test_rmse, test_r2;
        optimal_mse (the exact least-squares loss on the training rows), optimality_gap (train_mse
        above it), condition_number; largest_stable_learning_rate and epochs_expected if they are
        known; train_mae and test_mae, on the samples of these rows; penalty_strength with a
        penalty.
    """
    model, plan = trained.line, trained.plan
    best = plan.optimum
    metrics = {
        **r_scores("train", model, data.train),
        **r_scores("test", model, data.test),
        "optimal_mse": best.mse,
        "optimality_gap": excess(data.train, model.intercept, model.weights, best),
        "condition_number": best.condition,
        **{f"{share}_mae": mean_absolute_error(model, of) for share, of in data.samples.items()},
        "largest_stable_learning_rate": plan.largest_stable_rate,
        "epochs_expected": plan.epochs_expected,
        "penalty_strength": plan.penalized.path.strength if plan.penalized else None,
    }
    return {name: float(x) for name, x in metrics.items() if x is not None and math.isfinite(x)}


def scores(
    share: str, module: nn.Module, data: Dataset, features: Sequence[str] = ()
) -> dict[str, float]:
    """The scores on every row of a share, which are read for it; empty if there are none.

    Args:
        share: "train" or "test".
        module: raw features, (n, d) float64, to (n, 1) in the target's own units, or to the logits
            of its classes, (n, K).
        data: where the rows are.
        features: the module's; default: the data's.

    Returns:
        mse, rmse, r2 and mae; of classes accuracy, log_loss, f1 (macro) and, of held-out rows,
        roc_auc as scikit-learn defines them: of the last of two classes, of more the macro mean of
        one against the rest, and none unless every class is there. The share's name comes first.
    """
    if not getattr(data.summary, share).rows:
        return {}
    outputs = _outputs(share, module, data, features or data.encoding.features)
    if data.encoding.classes:
        found = _class_scores(outputs, with_auc=share == "test")
    else:
        found = _number_scores(outputs, data, getattr(data.summary, share))
    return {f"{share}_{name}": value for name, value in found.items() if math.isfinite(value)}


Outputs = tuple[Tensor, Tensor, Tensor]


def _outputs(
    share: str, module: nn.Module, data: Dataset, features: Sequence[str]
) -> Iterator[Outputs]:
    """Yield the module's outputs for some rows, (k, 1) or logits (k, K); their target, or the
    indicators of its classes, of the same shape; and their weights, (k,)."""
    for rows in data.rows((share,), (*features, *data.outputs, WEIGHT)):
        given, observed, weights = rows.tensor_split([len(features), -1], dim=1)
        with torch.no_grad():
            found = module(given)
        yield found, observed, weights[:, 0]


def _number_scores(outputs: Iterable[Outputs], data: Dataset, factor: Factor) -> dict[str, float]:
    squares = absolute = weight = first = second = 0.0
    centre = data.in_own_units(factor.means[-1])
    for predicted, target, weights in outputs:
        observed = data.in_own_units(target[:, 0])
        error = observed - predicted[:, 0]
        squares += float((weights * error.square()).sum())
        absolute += float((weights * error.abs()).sum())
        weight += float(weights.sum())
        first += float((weights * (observed - centre)).sum())
        second += float((weights * (observed - centre).square()).sum())
    mse, total = squares / weight, total_squares(factor) / factor.weight
    if data.encoding.log_target and total:  # R's total is of the logarithms
        total = second / weight - (first / weight) ** 2
    r2 = 1 - mse / total if total > 0 else math.nan
    return {"mse": mse, "rmse": math.sqrt(mse), "r2": r2, "mae": absolute / weight}


def _class_scores(outputs: Iterable[Outputs], with_auc: bool) -> dict[str, float]:
    from sklearn import metrics  # takes a second, which runs without classes need not wait

    rows = [  # of the weights a copy: a view would keep the features
        (logits.double().softmax(dim=1), indicators.argmax(dim=1), weights.clone())
        for logits, indicators, weights in outputs
    ]
    p, observed, weights = (torch.cat(each).numpy() for each in zip(*rows, strict=True))
    places, predicted = np.arange(p.shape[1]), p.argmax(axis=1)
    found = {
        "accuracy": metrics.accuracy_score(observed, predicted, sample_weight=weights),
        "log_loss": metrics.log_loss(observed, p, labels=places, sample_weight=weights),
        "f1": metrics.f1_score(
            observed, predicted, average="macro", zero_division=0, sample_weight=weights
        ),
    }
    if with_auc and len(np.unique(observed)) == len(places):
        ranked = p[:, 1] if len(places) == 2 else p
        found["roc_auc"] = metrics.roc_auc_score(
            observed, ranked, multi_class="ovr", sample_weight=weights
        )
    return {name: float(value) for name, value in found.items()}


def baselines(data: Dataset, config: Config, trained: Trained) -> dict[str, float]:
    """What a model must beat on the held-out rows: predicting the mean of the target or the shares
    of its classes, and the exact linear model; computed once for all trials on the same rows.

    All are fitted on every row that is not held out for testing.

    Returns:
        mean_test_rmse and linear_test_rmse; of classes majority_test_log_loss,
        majority_test_accuracy and linear_test_log_loss. None of them if no row is held out. Of
        numbers also what cross_validation gives.
    """
    if data.encoding.classes:
        same = trained.likelihood and not data.summary.validation.rows  # by newton on these rows
        fit = trained.module if same else None
        return _class_baselines(data, config.training.memory_mb, fit)
    return _number_baselines(data, config.training.bias)


@lru_cache(2)
def _number_baselines(data: Dataset, bias: bool) -> dict[str, float]:
    """The baselines of a number, from R. Of a target that is trained on as its logarithm, from the
    rows, in its own units: the mean, and the exponential of the exact line of the logarithm."""
    summary = data.summary
    validated = cross_validation(summary, bias)
    if not summary.test.rows:
        return validated
    best = least_squares(summary.train_and_validation, bias)
    mean, line = mean_model(summary), LinearModel(best.intercept, best.weights)
    if data.encoding.log_target:
        models = LinearModel(_mean_of_rows(data), mean.weights), nn.Sequential(line, Exp())
        found = [scores("test", model, data) for model in models]
    else:
        found = [r_scores("test", model, summary.test) for model in (mean, line)]
    of_mean, of_line = (each["test_rmse"] for each in found)
    return validated | {"mean_test_rmse": of_mean, "linear_test_rmse": of_line}


def _mean_of_rows(data: Dataset) -> float:
    """The mean of the target in its own units over the rows that are not held out for testing."""
    total = weight = 0.0
    for rows in data.rows(("train", "validation"), (data.target, WEIGHT)):
        total += float(rows[:, 1] @ data.in_own_units(rows[:, 0]))
        weight += float(rows[:, 1].sum())
    return total / weight


@lru_cache(2)
def _class_baselines(data: Dataset, memory_mb: float, fit: nn.Module | None) -> dict[str, float]:
    """The baselines of classes; the linear one is the logistic fit, which may be known already."""
    if not data.summary.test.rows:
        return {}
    fitted, held_out = data.profiled.train_and_validation, data.profiled.test
    known, tested = (np.array([*data.class_counts(f).values()]) for f in (fitted, held_out))
    log_shares = np.log(known / known.sum())
    linear = fit or module_of(most_likely(data, memory_mb, validation=True))
    return {
        "majority_test_log_loss": float(-(tested * log_shares).sum() / tested.sum()),
        "majority_test_accuracy": float(tested[_largest(known)] / tested.sum()),
        "linear_test_log_loss": scores("test", linear, data)["test_log_loss"],
    }


def mean_model(data: Summary) -> LinearModel:
    """The model that always predicts the mean of the rows that are not held out for testing."""
    factor = data.train_and_validation
    weights = torch.zeros(len(factor.columns) - 1, dtype=torch.float64)
    return LinearModel(float(factor.means[-1]), weights)


def held_out_scores(model: LinearModel, data: Summary) -> dict[str, float]:
    """test_mse, test_rmse, test_r2 and test_mae of a linear model; empty if no row is held out."""
    if not data.test.rows:
        return {}
    mae = mean_absolute_error(model, data.sample)
    found = r_scores("test", model, data.test) | {"test_mae": mae}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def mean_absolute_error(model: nn.Module, sample: Sample) -> float:
    """Mean |y - ŷ| over the rows of a sample, NaN without any; R does not know it."""
    if not len(sample.rows):
        return math.nan
    error = (sample.rows[:, -1] - model(sample.rows[:, :-1])[:, 0]).abs()
    return float((sample.weights * error).sum() / sample.weights.sum())


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
    """The mse, rmse and r2 of a linear model on all rows of a share, from R; empty without rows."""
    if not factor.rows:
        return {}
    sse = squared_error(factor, model.intercept, model.weights)
    total = total_squares(factor)
    mse = sse / factor.weight
    r2 = 1 - sse / total if total > 0 else math.nan
    return {f"{share}_mse": mse, f"{share}_rmse": math.sqrt(mse), f"{share}_r2": r2}


def largest_class(data: Dataset) -> dict[str, float]:
    """How often the class with the most training rows is right, by share; empty for numbers."""
    if not data.encoding.classes:
        return {}
    shares = {name: getattr(data.profiled, name) for name in ("train", "test")}
    counts = {name: data.class_counts(factor) for name, factor in shares.items() if factor.rows}
    largest = _largest(np.array([*counts["train"].values()]))
    return {name: [*of.values()][largest] / sum(of.values()) for name, of in counts.items()}


def _largest(counts: np.ndarray) -> int:
    """The first of the largest counts: balanced ones, which are weights, are equal to rounding."""
    return int((counts >= (1 - 1e-9) * counts.max()).argmax())
