"""The coefficients of a linear model as tables: exact, maximum-likelihood, and a penalty's path."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch

from plumbline.linear.least_squares import intercept_name
from plumbline.linear.penalty import PenaltyPath
from plumbline.linear.problem import Standardizer
from plumbline.training.experiment import Result
from plumbline.training.plan import optimum_of
from plumbline.training.trained import Trained


def coefficient_table(trained: Trained) -> dict[str, dict]:
    """The trained and exact coefficients, for coefficients.json: an entry for the intercept and one
    for each feature; a collinear feature also has the combination of columns that it equals."""
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
    """The maximum-likelihood coefficients, for coefficients.json: an entry for the intercept, one
    for each feature; for classes, such a table for each class but the first, the reference."""
    fit, equals = result.trained.likelihood, optimum_of(result.data.summary, True).equals
    names = (intercept_name(fit.names), *fit.names)
    tables = [
        {
            feature: {
                "value": value,
                "standard_error": None if math.isnan(error) else error,
                **({"equals": _plain(of)} if (of := equals.get(feature)) is not None else {}),
            }
            for feature, value, error in zip(names, values, errors, strict=True)
        }
        for values, errors in zip(fit.parameters.tolist(), fit.errors.tolist(), strict=True)
    ]
    return dict(zip(fit.classes[1:], tables, strict=True)) if fit.classes else tables[0]


def standard_coefficients(result: Result) -> dict[str, Any] | None:
    """The data for the plot of a linear model's coefficients.

    They are per standard deviation of each feature in the training rows, so they can be compared.

    Returns:
        `rows`: (name, value, standard error) of each feature that the data determine, for each
        class but the first, with the trained value in fourth place for least squares; `left_out`,
        the number of features that are not determined; `degrees_of_freedom`; `title` and `xlabel`
        of the plot. None if the model has no coefficients or none has a standard error.
    """
    data, fit, target = result.data, result.trained.likelihood, result.data.target
    best = optimum_of(data.summary, result.config.training.bias)
    if fit:
        tables = torch.stack([fit.parameters, fit.errors], dim=1)[:, :, 1:]
        of = f"log-odds against '{fit.classes[0]}'" if fit.classes else f"log({target})"
        title, free = "Most likely coefficients", math.inf
        title += " (there is no optimum)" if fit.problem else ""
    elif result.trained.exact:
        rows = result.trained.coefficients[1:]
        values = [(c.value, math.nan if c.error is None else c.error, value) for value, c in rows]
        tables = torch.tensor(values, dtype=torch.float64).mT[None]
        of = f"log({target})" if data.encoding.log_target else target
        title, free = "Coefficients of least squares", best.rows - best.rank
    else:
        return None
    deviations = Standardizer.of(data.summary.train, bias=True, standardize=True).scale
    prefixes = [f"{name}: " for name in fit.classes[1:]] if len(tables) > 1 else [""]
    rows = [
        (prefix + name, *numbers)
        for prefix, table in zip(prefixes, tables * deviations, strict=True)
        for name, numbers in zip(best.names, table.mT.tolist(), strict=True)
        if math.isfinite(numbers[1])
    ]
    counts = {"left_out": len(best.equals), "degrees_of_freedom": free}
    words = {"title": title, "xlabel": f"change of {of}\nper standard deviation of the feature"}
    return {"rows": rows, **words, **counts} if rows else None


def penalty_plot_data(result: Result) -> dict[str, Any] | None:
    """The data for the plot of a penalty's path: the values of PenaltyPath, and `kind`; None for a
    model without a penalty."""
    if not (result.trained.exact and result.trained.exact.penalized):
        return None
    path = result.trained.exact.penalized.path
    folds = path.errors.shape[1]
    return {
        "kind": result.config.training.penalty.kind.replace("_", " "),
        "names": path.names,
        "strengths": path.strengths.tolist(),
        "weights": path.weights.tolist(),
        "chosen": path.chosen,
        "folds": folds,
        "mean_errors": path.mean_errors.tolist() if folds else [],
        "standard_errors": path.standard_errors.tolist() if folds else [],
    }


def penalty_table(path: PenaltyPath) -> pd.DataFrame:
    """A row for every strength: the cross-validated error, if there are folds, and the weights of
    the features in the units of training."""
    table = pd.DataFrame({"strength": path.strengths.numpy()})
    if path.errors.shape[1]:
        table["cv_rmse_mean"] = path.mean_errors.numpy()
        table["cv_rmse_standard_error"] = path.standard_errors.numpy()
    names = [name + "_" * (name in table) for name in path.names]
    return table.join(pd.DataFrame(path.weights.numpy(), columns=names))


def _plain(equals: Mapping[str, float]) -> dict[str, float]:
    """The combination with whole numbers as integers."""
    return {name: int(v) if v.is_integer() else v for name, v in equals.items()}
