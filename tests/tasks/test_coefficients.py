"""Coefficients as tables and as their picture shows them."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

import plumbline
from plumbline.config.loading import validated
from plumbline.training.experiment import Result
from tasks.coefficients import (
    coefficient_table,
    likelihood_table,
    penalty_plot_data,
    penalty_table,
    standard_coefficients,
)
from tests.plumbline.tools import write


@pytest.mark.parametrize(
    ("y", "loss"), [(["no", "yes", "yes"], "cross_entropy"), ([1, 0, 5], "poisson")]
)
def test_a_coefficient_that_the_data_do_not_determine_says_what_its_column_equals(
    tmp_path: Path, y: list, loss: str
) -> None:
    x = [i * 7 % 13 for i in range(60)]
    rows = {"x": x, "twice": [2 * each for each in x], "y": y * 20}
    data = {"kind": "table", "path": str(write(tmp_path / "a.csv", rows)), "target": "y"}
    raw = {"experiment": "t", "data": data, "training": {"loss": loss, "optimizer": "newton"}}
    found = plumbline.train(validated(raw, "t.yaml"))
    table = likelihood_table(Result(found.config, found.data, found.trained, {}, []))
    table = table["yes"] if loss == "cross_entropy" else table
    assert table["twice"] == {"value": 0.0, "standard_error": None, "equals": {"x": 2}}


def trained(folder: Path, columns: dict[str, np.ndarray], **training: object) -> Result:
    path = write(folder / "a.csv", {name: of.tolist() for name, of in columns.items()})
    data = {"kind": "table", "path": str(path), "target": "y"}
    found = plumbline.train(
        validated({"experiment": "t", "data": data, "training": training}, "t.yaml")
    )
    return Result(found.config, found.data, found.trained, {}, [])


def test_features_called_intercept_and_strength_hide_nothing(tmp_path: Path) -> None:
    x = np.arange(20.0)
    columns = {"intercept": np.ones(20), "strength": x, "y": 2 * x + 3}
    exact = trained(tmp_path, columns, optimizer="exact").trained
    found = {name: of["least_squares"] for name, of in coefficient_table(exact).items()}
    assert found == pytest.approx({"intercept_": 3, "intercept": 0, "strength": 2})
    ridge = {"optimizer": "exact", "penalty": {"kind": "ridge"}}
    table = penalty_table(trained(tmp_path, columns, **ridge).trained.exact.penalized.path)
    assert [*table] == [
        "strength",
        "cv_rmse_mean",
        "cv_rmse_standard_error",
        "intercept",
        "strength_",
    ]
    counts = trained(tmp_path, columns, optimizer="newton", loss="poisson")
    assert [*likelihood_table(counts)] == ["intercept_", "intercept", "strength"]


def test_the_picture_has_what_is_determined_on_one_scale_with_the_errors_of_theory(
    tmp_path: Path,
) -> None:
    """Against scikit-learn's fit of standardised columns and s·√diag((ZᵀZ)⁻¹)."""
    a, b, noise = np.random.default_rng(0).normal(size=(3, 40)) * [[100], [0.1], [1]]
    y = a / 50 - 20 * b + noise
    columns = {"a": a, "b": b, "twice": 2 * a, "y": y}
    result = trained(tmp_path, columns, epochs=3)
    found = standard_coefficients(result)
    z = np.stack([(each - each.mean()) / each.std() for each in (a, b)], axis=1)
    fit = LinearRegression().fit(z, y)
    deviation = ((y - fit.predict(z)) ** 2).sum() / 37
    errors = (deviation * np.linalg.inv(z.T @ z).diagonal()) ** 0.5
    names, values, given, as_trained = zip(*found["rows"], strict=True)
    assert names == ("a", "b")
    assert values == pytest.approx(fit.coef_)
    assert given == pytest.approx(errors)
    weights = result.trained.module.weights[:2].numpy()
    assert as_trained == pytest.approx(weights * [a.std(), b.std()])
    assert (found["left_out"], found["degrees_of_freedom"]) == (1, 37)


def test_without_standard_errors_or_a_penalty_there_is_no_picture(tmp_path: Path) -> None:
    columns = {"a": np.array([1.0, 3.0]), "b": np.array([2.0, 1.0]), "y": np.array([1.0, 2.0])}
    result = trained(tmp_path, columns, optimizer="exact")
    assert standard_coefficients(result) is None
    assert penalty_plot_data(result) is None
