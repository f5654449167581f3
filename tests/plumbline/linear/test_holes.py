"""Numbers that are missing: the mean and an indicator, as scikit-learn fills them, in one pass."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline

from plumbline.config.schema import Split, TableData
from plumbline.data.encoding import EncodingError
from plumbline.data.split import share_rows
from plumbline.linear.dataset import Dataset
from plumbline.linear.factor import merge
from plumbline.linear.least_squares import least_squares
from plumbline.training.evaluation import held_out_scores
from plumbline.training.model import LinearModel
from tests.plumbline.tools import opened, read, write

KINDS = pytest.mark.parametrize("kind", ["csv", "parquet"])
NAMES = ("a", "b", "c", "whole")


def columns(n: int, seed: int, holes: dict[str, float], far: float = 0.0) -> dict[str, list]:
    """n rows, of whose values in some columns a share is missing."""
    random = np.random.default_rng(seed)
    x = random.normal(far, 1 + seed, (n, len(NAMES)))
    y = (x - far) @ [1.0, -2.0, 0.5, 3.0] + random.normal(size=n)
    found = dict(zip(NAMES, x.T.tolist(), strict=True))
    for name, share in holes.items():
        gone = random.random(n) < share
        gone[0] |= share > 0.4  # the first row, of which the pass takes its shift
        found[name] = [None if g else v for g, v in zip(gone, found[name], strict=True)]
    return {**found, "y": y.tolist()}


def three_files(folder: Path, kind: str, far: float = 0.0) -> Path:
    """Holes from the first row on, in later files only, and none."""
    for number, holes in enumerate([{"a": 0.5}, {}, {"a": 0.1, "b": 0.3, "c": 0.01}]):
        write(folder / f"{number}.{kind}", columns(500, number, holes, far))
    return folder


def prepared(path: Path, split: Split | None = None, **data: object) -> Dataset:
    split = split or Split()
    keys = {"missing": "impute", **data}
    given = TableData(kind="table", path=str(path), target="y", **keys, **split.model_dump())
    return Dataset.of(read(path, split, **keys), given, opened(path, **keys), {})


def rows_in(path: Path, split: Split, share: str) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a share with their holes, and their targets."""
    source = opened(path, missing="impute")
    rows = torch.cat([*share_rows(source, split, (share,), (*NAMES, "y"))]).numpy()
    return rows[:, :-1], rows[:, -1]


@KINDS
@pytest.mark.parametrize("far", [0.0, 1e4])
@pytest.mark.parametrize(
    "split", [Split(), Split(test_fraction=0.3), Split(test_fraction=0.2, folds=4)]
)
def test_the_fit_is_that_of_scikit_learns_imputer(kind, far, split, tmp_path):
    data = prepared(three_files(tmp_path, kind, far), split)
    x, y = rows_in(tmp_path, split, "train")
    peer = make_pipeline(SimpleImputer(add_indicator=True), LinearRegression()).fit(x, y)
    fit = least_squares(data.summary.train)
    assert data.encoding.features == (*NAMES, "a=(missing)", "b=(missing)", "c=(missing)")
    assert fit.weights.numpy() == pytest.approx(peer[-1].coef_, rel=1e-9, abs=1e-9)
    assert list(data.encoding.means.values()) == pytest.approx(peer[0].statistics_, rel=1e-14)
    assert fit.r2 == pytest.approx(peer.score(x, y), abs=1e-12)
    if split.test_fraction:
        held, observed = rows_in(tmp_path, split, "test")
        rmse = np.sqrt(np.mean((peer.predict(held) - observed) ** 2))
        found = held_out_scores(LinearModel(fit.intercept, fit.weights), data.summary)
        assert found["test_rmse"] == pytest.approx(rmse, rel=1e-9)


@KINDS
def test_what_streams_and_what_predicts_have_the_features_of_the_pass(kind, tmp_path):
    split = Split(test_fraction=0.3)
    data = prepared(three_files(tmp_path, kind), split)
    features = data.encoding.features
    frame = pd.concat([pd.DataFrame(columns(500, i, h)) for i, h in
                       enumerate([{"a": 0.5}, {}, {"a": 0.1, "b": 0.3, "c": 0.01}])])  # fmt: skip
    encoded = data.encoding.encode(frame)
    streamed = [*share_rows(data.source, split, ("train", "test"), features)]
    assert np.array_equal(torch.cat(streamed).numpy(), encoded)
    whole = merge([*data.summary.factors.values()])
    means = whole.r[0, 1:-1] / whole.r[0, 0] + whole.shift[:-1]
    spreads = whole.r[1:, 1:-1].norm(dim=0) / whole.r[0, 0]
    assert means.numpy() == pytest.approx(encoded.mean(axis=0), rel=1e-9, abs=1e-12)
    assert spreads.numpy() == pytest.approx(encoded.std(axis=0), rel=1e-9)
    assert not data.summary.sample.rows.isnan().any()


@KINDS
def test_cut_as_you_like_the_rows_are_the_same(kind, tmp_path):
    three_files(tmp_path / "parts", kind)
    frames = [pd.DataFrame(columns(500, i, h)) for i, h in
              enumerate([{"a": 0.5}, {}, {"a": 0.1, "b": 0.3, "c": 0.01}])]  # fmt: skip
    frame = pd.concat(frames).astype(object).where(lambda f: f.notna(), None)
    write(tmp_path / f"whole.{kind}", frame.to_dict("list"))
    one, three = prepared(tmp_path / f"whole.{kind}"), prepared(tmp_path / "parts")
    expected = least_squares(one.summary.train).weights
    assert least_squares(three.summary.train).weights.numpy() == pytest.approx(expected, rel=1e-10)


def test_the_mean_is_weighted_and_a_constant_stays_one(tmp_path):
    rows = {"a": [1.0, None, 4.0, 7.0], "k": [0.1, 0.1, None, 0.1], "w": [1, 9, 2, 0],
            "y": [1.0, 2.0, 3.0, 4.0]}  # fmt: skip
    data = prepared(write(tmp_path / "a.csv", rows), weight="w")
    assert data.encoding.means == {"a": pytest.approx(3.0), "k": 0.1}
    fit = least_squares(data.summary.train)
    assert fit.equals["k"] == {"intercept": 0.1}


def test_a_row_without_its_target_is_dropped_and_counted(tmp_path):
    rows = {"a": [1.0, None, 4.0], "y": [1.0, None, 3.0]}
    data = prepared(write(tmp_path / "a.csv", rows))
    assert (data.summary.rows, data.summary.dropped) == (2, 1)
    assert data.encoding.features == ("a",)  # the only hole was in the row that is gone


@KINDS
def test_a_column_empty_in_a_file_or_everywhere(kind, tmp_path):
    gone = [None] * 4
    write(tmp_path / f"1.{kind}", {"a": [1.0, 2.0, 4.0, 4.5], "b": gone, "y": [1.0, 2.0, 3.0, 9.0]})
    write(tmp_path / f"2.{kind}", {"a": gone, "b": gone, "y": [5.0, 6.0, 7.0, 7.5]})
    data = prepared(tmp_path, features=["a", "b"])
    assert data.encoding.means == {"a": pytest.approx(2.875), "b": 0.0}
    fit = least_squares(data.summary.train)
    assert fit.equals == {"b": {}, "b=(missing)": {"intercept": 1.0}}


def test_missing_levels_are_a_level_after_the_others(tmp_path):
    rows = {"g": ["u", None, "v", "u"], "y": [1.0, 2.0, 3.0, 4.0]}
    path = write(tmp_path / "a.csv", rows)
    for given in (["g"], {"g": ["v", "u"]}):
        data = prepared(path, categorical=given)
        levels = (*sorted(given["g"] if isinstance(given, dict) else "uv", reverse="v" in given),)
        assert set(data.encoding.levels["g"]) == {*levels, "(missing)"}
        assert data.encoding.levels["g"][-1] == "(missing)"
        encoded = data.encoding.encode(pd.DataFrame({"g": [None, "u", np.nan]}, dtype=object))
        assert encoded[:, -1].tolist() == [1.0, 0.0, 1.0]
    whole = write(tmp_path / "b.csv", {"g": ["u", "v"], "y": [1.0, 2.0]})
    given = {"g": ["v", "u"]}
    assert prepared(whole, categorical=given).encoding.levels == {"g": ("v", "u")}


def test_prediction_fills_what_is_missing_and_nothing_else(tmp_path):
    encoding = prepared(write(tmp_path / "a.csv", columns(50, 1, {"a": 0.5}))).encoding
    frame = pd.DataFrame([dict.fromkeys(NAMES, None)], dtype=object)
    assert encoding.encode(frame)[0].tolist() == [*encoding.means.values(), 1.0]
    for wrong in (math.inf, "text"):
        with pytest.raises(EncodingError, match="column 'b' must be a"):
            encoding.encode(frame.assign(b=[wrong]))


def test_a_column_named_like_an_indicator_is_refused(tmp_path):
    path = write(tmp_path / "a.csv", {"a": [1.0], "a=(missing)": [1.0], "y": [2.0]})
    with pytest.raises(ValueError, match="named like a level of column 'a'"):
        prepared(path)
