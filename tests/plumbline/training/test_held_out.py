"""Held-out rows and their predictions: enough to compare any other model on the same rows."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import log_loss, root_mean_squared_error

from plumbline.config.schema import Config
from plumbline.library import Model, evaluate, train
from plumbline.training.held_out import predict_held_out
from tests.plumbline.tools import write

SPLITS = [
    {"by": "rows"},
    {"by": "group", "column": "town"},
    {"by": "time", "column": "when", "cut": "2024-01-14"},
    {"by": "time"},
]


def table(folder: Path, kind: str, rows: int = 150) -> pd.DataFrame:
    """Four files with holes, and all their rows."""
    random, frames = np.random.default_rng(0), []
    for number in range(4):
        x, z = random.normal(size=(2, rows))
        town = np.array([f"t{i}" for i in random.integers(40, size=rows)], dtype=object)
        y = 2 * x - z + (town == "t3") + 0.1 * random.normal(size=rows)
        y[5] = np.nan
        when = [datetime(2024, 1, 1) + timedelta(hours=rows * number + i) for i in range(rows)]
        when = [str(each) for each in when] if kind == "csv" else when
        told = {"when": when, "x": x, "z": z, "town": town, "y": y, "prediction": x > 0}
        frames.append(pd.DataFrame(told).assign(source_file=f"{number}.{kind}"))
        told = {n: [None if v != v else v for v in column] for n, column in told.items()}
        write(folder / f"{number}.{kind}", told)
    return pd.concat(frames)


def trained(folder: Path, split: dict, **sections: dict) -> Model:
    data = {"kind": "table", "path": str(folder), "missing": "drop", "split": split, "dates": []}
    data |= {} if "cut" in split else {"test_fraction": 0.3}
    data |= {"target": "y", "categorical": ["town"]} | sections.pop("data", {})
    config = {"experiment": "e", "data": data, **sections}
    return train(Config.model_validate(config))


def held_out(model: Model, half_width: float | None = None, most: int = 10_000) -> pd.DataFrame:
    encoding, config = replace(model.data.encoding, half_width=half_width), model.config
    split = config.data.holding_out
    found = predict_held_out(model.module, model.data.source, encoding, split, most)
    return found.to_pandas()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("split", SPLITS, ids=lambda split: "-".join(map(str, split.values())))
def test_scores_come_from_the_rows_to_the_last_digits_and_the_others_were_trained_on(
    tmp_path, kind, split
):
    whole = table(tmp_path, kind)
    model = trained(tmp_path, split, training={"optimizer": "exact"})
    metrics = evaluate(model)
    rows = held_out(model)
    error = root_mean_squared_error(rows["y"], rows["prediction_"])
    assert error == pytest.approx(metrics["test_rmse"], rel=1e-12)
    whole["source_row"] = whole.groupby("source_file").cumcount() + 1
    rows["source_file"] = rows["source_file"].map(lambda path: Path(path).name)
    merged = whole.merge(rows, "left", on=["source_file", "source_row"], suffixes=("", "_kept"))
    kept = merged["prediction_"].notna()
    assert merged["x"][kept].equals(merged["x_kept"][kept])
    assert (merged["town"] == merged["town_kept"])[kept].all()
    train_rows = merged[~kept].dropna(subset="y")
    assert (len(train_rows), len(rows)) == (
        model.data.summary.train_and_validation.rows,
        model.data.summary.test.rows,
    )
    columns = [pd.get_dummies(merged["town"], dtype=float), merged[["x", "z", "prediction"]]]
    features = pd.concat(columns, axis=1).astype(float)
    line = LinearRegression().fit(features.loc[train_rows.index].to_numpy(), train_rows["y"])
    predicted = line.predict(features[kept].to_numpy())
    if split["by"] != "group":  # whose towns have no weight there
        assert merged["prediction_"][kept].to_numpy() == pytest.approx(predicted, abs=1e-9)


def test_classes_have_their_probabilities_and_holes_are_as_the_files_have_them(tmp_path):
    table(tmp_path, "csv")
    data = {"target": "prediction", "features": ["y", "z"], "categorical": [], "missing": "impute"}
    model = trained(tmp_path, {"by": "rows"}, data=data | {"target_type": "class"})
    rows = held_out(model)
    p = rows[["probability_False", "probability_True"]].to_numpy()
    expected = evaluate(model)["test_log_loss"]
    assert log_loss(rows["prediction"], p) == pytest.approx(expected, rel=1e-9)
    assert (rows["prediction_"] == np.where(p[:, 1] > 0.5, "True", "False")).all()
    assert rows["y"].isna().sum() == (rows["source_row"] == 6).sum() > 0


def test_an_interval_is_beside_and_the_first_rows_are_kept_if_there_are_more(tmp_path):
    table(tmp_path, "parquet")
    model = trained(tmp_path, {"by": "time"}, prediction={"interval": 0.5})
    rows = held_out(model, half_width=2.0)
    assert (rows["upper"] - rows["prediction_"]).to_numpy() == pytest.approx(2.0)
    assert {Path(each).name for each in rows["source_file"]} == {"3.parquet"}
    assert held_out(model, half_width=2.0, most=10).equals(rows[:10])


def test_generated_rows_are_there_with_the_same_scores():
    data = {"kind": "synthetic", "features": 3, "rows": 50_000, "noise": 1.0, "test_fraction": 0.1}
    config = {"experiment": "e", "data": data, "training": {"optimizer": "exact"}}
    model = train(Config.model_validate(config))
    rows = held_out(model)
    assert [*rows] == ["x1", "x2", "x3", "y", "prediction", "source_file", "source_row"]
    assert len(rows) == model.data.summary.test.rows
    error = root_mean_squared_error(rows["y"], rows["prediction"])
    assert error == pytest.approx(evaluate(model)["test_rmse"], rel=1e-12)
    assert rows["source_row"].is_monotonic_increasing


def test_rows_of_many_blocks_and_batches_stand_where_the_file_has_them(tmp_path):
    """Batches of a CSV file end elsewhere than blocks, from whose rows some are dropped."""
    random = np.random.default_rng(1)
    x = random.normal(size=150_000)
    frame = pd.DataFrame({"x": x, "y": 2 * x + 1, "note": "n" * 60, "place": np.arange(150_000)})
    frame.loc[::7, "y"] = np.nan
    frame.to_csv(tmp_path / "rows.csv", index=False)
    data = {"features": ["x", "place"], "categorical": []}
    rows = held_out(trained(tmp_path, {"by": "rows"}, data=data), most=30_000)
    assert (rows["place"] == rows["source_row"] - 1).all()
    assert len(rows) == 30_000
    assert rows["source_row"].iloc[-1] > 100_000
    assert (rows["x"].to_numpy() == x[rows["source_row"] - 1]).all()
