"""The coefficients of a linear model as tables: exact ones, most likely ones, a penalty's path."""

import math
from collections.abc import Mapping

import pandas as pd

from plumbline.linear.penalty import PenaltyPath
from plumbline.training.experiment import Result
from plumbline.training.loop import Trained
from plumbline.training.plan import optimum_of


def coefficient_table(trained: Trained) -> dict[str, dict]:
    """A line for the intercept and each feature; one that is left out says what it equals."""
    return {
        exact.name: {
            "trained": value,
            "least_squares": exact.value,
            "standard_error": exact.error,
            "t_value": exact.t_value,
            **({} if exact.equals is None else {"equals": _plain(exact.equals)}),
        }
        for value, exact in trained.coefficients
    }


def likelihood_table(result: Result) -> dict[str, dict]:
    """A line for the intercept and each feature; of classes such a table for each but the first,
    the reference."""
    fit, equals = result.trained.likelihood, optimum_of(result.data.summary, True).equals
    names = ("intercept", *fit.names)
    tables = [
        {
            feature: {
                "value": value,
                "standard_error": None if math.isnan(error) else error,
                **({"equals": _plain(equals[feature])} if feature in equals else {}),
            }
            for feature, value, error in zip(names, values, errors, strict=True)
        }
        for values, errors in zip(fit.parameters.tolist(), fit.errors.tolist(), strict=True)
    ]
    return dict(zip(fit.classes[1:], tables, strict=True)) if fit.classes else tables[0]


def penalty_table(path: PenaltyPath) -> pd.DataFrame:
    """For every strength the error over the folds, if there are any, and the weights of features
    in training's units; a row a strength."""
    table = pd.DataFrame({"strength": path.strengths.numpy()})
    if path.errors.shape[1]:
        table["cv_rmse_mean"] = path.mean_errors.numpy()
        table["cv_rmse_standard_error"] = path.standard_errors.numpy()
    return table.join(pd.DataFrame(path.weights.numpy(), columns=list(path.names)))


def _plain(equals: Mapping[str, float]) -> dict[str, float]:
    """Whole numbers as integers."""
    return {name: int(v) if v.is_integer() else v for name, v in equals.items()}
