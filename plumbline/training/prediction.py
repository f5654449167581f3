"""Predictions for the rows that a configuration asks about, and how far they may be off: from
held-out rows for any model, from theory for a line."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from plumbline.config.schema import Config
from plumbline.data.encoding import Encoding, EncodingError
from plumbline.data.inputs import Row, named_values
from plumbline.errors import InputError
from plumbline.linear.dataset import Dataset
from plumbline.linear.factor import triangle
from plumbline.linear.sample import Sample
from plumbline.training.plan import Plan
from plumbline.training.trained import Trained

INPUTS = "prediction.inputs"
AT_ONCE = 4_096  # rows that a module is given


@dataclass(frozen=True)
class Prediction:
    """The prediction for one row that the configuration asks about.

    Attributes:
        input: the row as the configuration gives it.
        label: the input's values as one word for a metric's name, such as `5.0`.
        value: the prediction in units of the target, or the name of the likeliest class.
        probabilities: of each class, by name; empty if the target is a number.
        interval: holds the share prediction.interval of new targets; None if it is not configured.
        gaussian: the same around the exact line, if errors are normal; None for other models.
    """

    input: Row
    label: str
    value: float | str
    probabilities: dict[str, float] = field(default_factory=dict)
    interval: tuple[float, float] | None = None
    gaussian: tuple[float, float] | None = None


def predict(
    trained: Trained,
    encoding: Encoding,
    rows: Sequence[Row],
    level: float | None = None,
) -> list[Prediction]:
    """Predict for each row of prediction.inputs: a number, a list in the order of the columns, or a
    mapping.

    Args:
        trained: the model.
        encoding: from raw columns to its features, with the interval's half width if there is one.
        rows: what to predict.
        level: of the interval around each prediction; None: no interval.

    Raises:
        InputError: a row has the wrong width, lacks a column, or has an unknown or missing level.
    """
    predictions, features = [], encoded(encoding, rows)
    for row, x, output in zip(rows, features, outputs_of(trained.module, features), strict=True):
        label = "_".join(map(str, named_values(row, encoding.columns, INPUTS).values()))
        if encoding.classes:
            probabilities = dict(zip(encoding.classes, output.softmax(dim=0).tolist(), strict=True))
            likeliest = encoding.classes[int(output.argmax())]
            predictions.append(Prediction(row, label, likeliest, probabilities))
            continue
        value, interval, gaussian = float(output), None, None
        if encoding.half_width is not None:
            interval = tuple(encoding.interval(np.array([value]))[:, 0].tolist())
            if trained.exact and level:
                gaussian = gaussian_interval(trained.exact, x, level)
            if gaussian and encoding.log_target:
                gaussian = math.exp(gaussian[0]), math.exp(gaussian[1])
        predictions.append(Prediction(row, label, value, interval=interval, gaussian=gaussian))
    return predictions


def encoded(encoding: Encoding, rows: Sequence[Row] | pd.DataFrame, key: str = INPUTS) -> Tensor:
    """Encode rows, of which an error says that they are `key`, as features: (n, d) float64.

    Raises:
        InputError: as for `predict`.
    """
    columns = encoding.columns
    if isinstance(rows, pd.DataFrame):
        rows = rows.rename(columns=lambda name: str(name).strip())  # as the headers of files
        named_values(dict.fromkeys(rows.columns, 0.0), columns, key)
    else:
        named = [named_values(row, columns, f"{key}[{i}]") for i, row in enumerate(rows)]
        rows = pd.DataFrame(named, columns=columns)
    try:
        return torch.from_numpy(encoding.encode(rows))
    except EncodingError as error:
        raise InputError(f"{key}[{error.row}]: {error}") from None


@torch.no_grad()
def outputs_of(module: nn.Module, features: Tensor) -> Tensor:
    """The outputs of a module for features (n, d), a few thousand rows at a time: (n, 1), or the
    logits of K classes, (n, K), float64."""
    return torch.cat([module(some).double() for some in features.split(AT_ONCE)])


def predict_inputs(
    trained: Trained, data: Dataset, config: Config, metrics: Mapping[str, float]
) -> list[Prediction]:
    """The predictions that the configuration asks for, with the intervals that `measure` found."""
    encoding = with_interval(data.encoding, metrics)
    return predict(trained, encoding, config.prediction.inputs, level=config.prediction.interval)


def check_interval(level: float | None, held_out: Sample) -> None:
    """Refuse a level that so few held-out rows cannot promise.

    Raises:
        InputError: there are fewer than level / (1 - level) of them.
    """
    if level and math.ceil(_place(level, len(held_out.rows))) > len(held_out.rows):
        needed = math.ceil(level / (1 - level) - 1e-9)
        raise InputError(
            f"prediction.interval: {level:g} needs at least {needed} held-out rows. Got "
            f"{len(held_out.rows)}: raise data.test_fraction."
        )


def with_interval(encoding: Encoding, metrics: Mapping[str, float]) -> Encoding:
    """The encoding with half the width of the interval that `measure` found, if it did."""
    return replace(encoding, half_width=metrics.get("interval_half_width"))


@torch.no_grad()
def conformal_half_width(
    module: nn.Module, held_out: Sample, level: float, log_target: bool = False
) -> float:
    """Half the width of the interval around a prediction that holds a new row's target in a share
    of `level` of all cases, whatever the model: split conformal prediction.

    It is the ⌈(n + 1) · level⌉-th smallest of n absolute residuals on rows that the model was not
    trained on, exchangeable with the new one (Lei et al. 2018, Distribution-Free Predictive
    Inference for Regression, section 2.2). Rows count by their weights.

    Args:
        module: raw features, (n, d), to (n, 1).
        held_out: the held-out rows or a sample, as many as check_interval asks for.
        level: in (0, 1).
        log_target: whether the rows hold the logarithm of what the module predicts.
    """
    rows, weights = held_out.rows, held_out.weights
    predicted = module(rows[:, :-1])[:, 0].double()
    residuals = (rows[:, -1] - (predicted.log() if log_target else predicted)).abs()
    ascending = residuals.argsort()
    counted = weights[ascending].cumsum(0) / weights.mean()
    return float(residuals[ascending][int((counted >= _place(level, len(rows))).int().argmax())])


def gaussian_interval(plan: Plan, features: Tensor, level: float) -> tuple[float, float] | None:
    """The interval around the exact line if its errors are normal and alike: ± t·s·√(1 + leverage).

    Seber and Lee, Linear Regression Analysis, 2nd ed., section 5.3.1.

    Args:
        plan: of the linear model.
        features: of one row, (d,), in raw units.
        level: in (0, 1).

    Returns:
        None if there are no more rows than parameters.
    """
    from scipy import stats

    best = plan.optimum
    if best.residual_deviation is None:
        return None
    kept = [i for i, name in enumerate(best.names) if name not in best.equals]
    z = (features - plan.standardizer.mean)[kept] / plan.standardizer.scale[kept]
    bias = int(plan.problem.bias)
    row = torch.cat([torch.ones(bias, dtype=torch.float64), z])
    r = triangle(plan.problem.matrix[:, [*range(bias), *(i + bias for i in kept)]])
    leverage = torch.linalg.solve_triangular(r.mT, row[:, None], upper=False).square().sum()
    t = stats.t.ppf((1 + level) / 2, best.rows - best.rank)
    value = best.intercept + float(features @ best.weights)
    width = t * best.residual_deviation * math.sqrt(1 + leverage)
    return value - width, value + width


def _place(level: float, rows: int) -> float:
    """How many of the residuals, in order, must be within; more than all if they are too few."""
    return (rows + 1) * level - 1e-9  # 0.9 · 10 is 9, not a rounding error more
