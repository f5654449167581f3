"""A target's logarithm is trained on; scores and predictions are in the target's own units."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_absolute_error, r2_score

from plumbline.config.loading import validated
from plumbline.config.schema import Config
from plumbline.data.encoding import Encoding
from plumbline.data.split import share_rows
from plumbline.errors import InputError
from plumbline.library import Model, evaluate, predict, train
from plumbline.registry.scoring import score
from plumbline.training.prediction import predict_inputs
from plumbline.training.stored import StoredModel
from tests.plumbline.tools import opened, refusal, write

KIND = pytest.mark.parametrize("kind", ["linear", "mlp"])


def config(path: Path, kind: str = "linear", **data: object) -> Config:
    training = {"optimizer": "exact"} if kind == "linear" else {"epochs": 3}
    return validated({
        "experiment": "log", "model": {"kind": kind}, "training": training,
        "data": {"kind": "table", "path": str(path), "target": "y", "log_target": True,
                 "test_fraction": 0.3, **data},
        "prediction": {"interval": 0.8, "inputs": [[0.5, 1.0]]},
    }, "test")  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of prices, whose logarithms depend on two columns."""
    random, folder = np.random.default_rng(0), tmp_path_factory.mktemp("prices")
    for number in range(2):
        a, b, noise = random.normal(size=(3, 400))
        y = np.exp(5 + a - 2 * b + 0.3 * noise)
        write(folder / f"{number}.csv", {"a": a, "b": b, "y": y})
    return folder


def rows_of(path: Path, given: Config, *shares: str) -> tuple[np.ndarray, np.ndarray]:
    rows = torch.cat([*share_rows(opened(path), given.data, shares, ("a", "b", "y"))]).numpy()
    return rows[:, :-1], rows[:, -1]


def fitted(x: np.ndarray, y: np.ndarray) -> TransformedTargetRegressor:
    return TransformedTargetRegressor(LinearRegression(), func=np.log, inverse_func=np.exp).fit(
        x, y
    )


def rmse(predicted: np.ndarray | float, y: np.ndarray) -> float:
    return float(np.sqrt(np.mean((predicted - y) ** 2)))


@KIND
def test_scores_and_baselines_are_in_own_units(path, kind):
    given = config(path, kind)
    model = train(given)
    found = evaluate(model)
    for share in ("train", "test"):
        x, y = rows_of(path, given, share)
        predicted = model.trained.module(torch.from_numpy(x))[:, 0].detach().numpy()
        assert found[f"{share}_rmse"] == pytest.approx(rmse(predicted, y))
        assert found[f"{share}_mae"] == pytest.approx(mean_absolute_error(y, predicted))
        assert found[f"{share}_r2"] == pytest.approx(r2_score(y, predicted))
    x, y = rows_of(path, given, "train", "validation")
    held, observed = rows_of(path, given, "test")
    line = fitted(x, y)
    assert found["linear_test_rmse"] == pytest.approx(rmse(line.predict(held), observed))
    assert found["mean_test_rmse"] == pytest.approx(rmse(y.mean(), observed))
    gain = 1 - found["test_rmse"] / found["linear_test_rmse"]
    assert found["gain_over_linear"] == pytest.approx(gain)
    if kind == "linear":
        assert predict(model, held[:3].tolist()) == pytest.approx(line.predict(held[:3]))
        residuals = np.log(y) - np.log(line.predict(x))
        assert found["optimal_mse"] == pytest.approx(np.mean(residuals**2))


def test_scores_and_baselines_weigh_rows_by_the_age_of_their_file(path):
    given = config(path, validation_fraction=0.2, window={"half_life": 1})
    found = evaluate(train(given))

    def aged(*shares: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        old, new = (
            torch.cat([*share_rows(source, given.data, shares, ("a", "b", "y"), (part,))])
            for source in [opened(path)]
            for part in source.parts
        )
        weights = np.repeat([0.5, 1.0], [len(old), len(new)])
        rows = torch.cat([old, new]).numpy()
        return rows[:, :-1], rows[:, -1], weights

    def weighted(predicted: np.ndarray | float, y: np.ndarray, weights: np.ndarray) -> float:
        return float(np.sqrt(np.average((predicted - y) ** 2, weights=weights)))

    x, y, weights = aged("train")
    of_train = LinearRegression().fit(x, np.log(y), weights)
    held, observed, of_held = aged("test")
    predicted = np.exp(of_train.predict(held))
    assert found["test_rmse"] == pytest.approx(weighted(predicted, observed, of_held))
    r2 = r2_score(observed, predicted, sample_weight=of_held)
    assert found["test_r2"] == pytest.approx(r2)
    x, y, weights = aged("train", "validation")
    line = np.exp(LinearRegression().fit(x, np.log(y), weights).predict(held))
    assert found["linear_test_rmse"] == pytest.approx(weighted(line, observed, of_held))
    mean = np.average(y, weights=weights)
    assert found["mean_test_rmse"] == pytest.approx(weighted(mean, observed, of_held))


@KIND
def test_an_interval_is_a_factor_and_holds_its_share_of_rows(path, kind):
    given = config(path, kind)
    model = train(given)
    metrics = evaluate(model)
    (found,) = predict_inputs(model.trained, model.data, given, metrics)
    factor = np.exp(metrics["interval_half_width"])
    assert found.interval == pytest.approx((found.value / factor, found.value * factor))
    x, y = rows_of(path, given, "test")
    predicted = model.trained.module(torch.from_numpy(x))[:, 0].detach().numpy()
    within = np.abs(np.log(y / predicted)) <= metrics["interval_half_width"]
    assert within.mean() == pytest.approx(0.8, abs=0.01)
    if kind == "linear":
        assert found.gaussian == pytest.approx(found.interval, rel=0.1)


@pytest.mark.parametrize("window", [None, {"half_life": 1}])
def test_the_gate_scores_models_of_either_target_on_the_rows_own_units(path, window):
    def scores(model: Model, today: Model) -> dict[str, float]:
        stored = StoredModel("y", model.data.encoding, model.trained.module)
        return score(stored, today.data)

    log, plain = (train(config(path, log_target=each, window=window)) for each in (True, False))
    for model in (log, plain):
        own = evaluate(model)
        for today in (log, plain):
            assert scores(model, today)["test_rmse"] == pytest.approx(own["test_rmse"])


@pytest.mark.parametrize("value", [0.0, -2.5])
def test_a_target_without_a_logarithm_is_refused_with_its_place(tmp_path, value):
    rows = {"x": [1.0, 2.0, 3.0], "y": [1.0, value, 2.0]}
    message = refusal(write(tmp_path / "a.csv", rows), log_target=True)
    place = f"a.csv: column 'y', row 2 must be above 0 with data.log_target. Got {value:g}"
    assert place in message


def test_a_missing_target_is_dropped_before_its_logarithm(tmp_path):
    rows = {"x": [1.0, 2.0, 3.0], "y": [1.0, None, 2.0]}
    (table,) = [opened(write(tmp_path / "a.csv", rows), log_target=True, missing="drop")]
    (block,) = table.blocks(table.parts[0])
    assert block.rows[-1].tolist() == [0.0, np.log(2.0)]


def test_classes_have_no_logarithm(tmp_path):
    path = write(tmp_path / "a.csv", {"x": [1, 2, 3, 4], "y": ["u", "v", "u", "v"]})
    with pytest.raises(InputError, match=r"data\.log_target must be false with loss cross_entropy"):
        train(validated({"experiment": "x", "data": {"kind": "table", "path": str(path),
                         "target": "y", "log_target": True}}, "test"))  # fmt: skip


def test_a_stored_encoding_knows_of_it():
    encoding = replace(Encoding(("x",), {}), log_target=True, half_width=np.log(2.0))
    assert encoding.interval(np.array([4.0])).tolist() == [[pytest.approx(2.0)], [8.0]]
