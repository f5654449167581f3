"""A stored model on other data predicts what it predicted, or says why it cannot."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from plumbline.config.schema import Split, TableData
from plumbline.data.encoding import Encoding
from plumbline.data.split import share_rows
from plumbline.linear.compress import compress
from plumbline.linear.dataset import Dataset
from plumbline.linear.summary import Summary, combine_eight
from plumbline.registry.scoring import NotComparableError, score
from plumbline.training.model import LinearModel
from plumbline.training.stored import StoredModel
from tests.plumbline.tools import opened, read, write

EFFECT = {"a": 0.0, "b": 2.0, "c": -1.0}
MODEL = StoredModel(
    "y",
    Encoding(("x",), {"city": ("a", "b", "c")}),
    LinearModel(10.0, torch.tensor([3.0, 2.0, -1.0], dtype=torch.float64)),
)
AS_A_NET = StoredModel(MODEL.target, MODEL.encoding, nn.Sequential(MODEL.module))
EVERY_ROW = Split(test_fraction=1 - 1e-12)
NOTHING = LinearModel(0.0, torch.zeros(2, dtype=torch.float64))


def data_of(tmp_path, cities: str, **more: list[float]) -> Dataset:
    """Held-out rows whose target is what MODEL predicts, in features of their own."""
    x = [float(i * i % 7) for i in range(len(cities))]
    y = [10 + 3 * v + EFFECT.get(c, 0.0) for v, c in zip(x, cities, strict=True)]
    path = write(tmp_path / "rows.csv", {"x": x, "city": list(cities), **more, "y": y})
    whole = read(path, categorical=["city"])
    whole = Summary({"test": whole.train}, whole.samples, whole.digests)
    encoding = Encoding.of(whole.columns[:-1], _table(path).categorical)
    source = opened(path, categorical=["city"])
    summary = whole.select((*encoding.features, "y"))
    return Dataset(summary, summary, encoding, source, {}, split=EVERY_ROW)


def _table(path: Path) -> TableData:
    return TableData(kind="table", path=str(path), target="y", categorical=["city"])


@pytest.mark.parametrize("cities", ["abcabc", "bcbcbc", "cccc", "bbab", "cbabcab"])
def test_the_same_predictions_whatever_levels_and_reference_today_has(tmp_path, cities):
    for model in (MODEL, AS_A_NET):
        found = score(model, data_of(tmp_path, cities))
        assert found["test_mse"] == pytest.approx(0, abs=1e-20)
        assert found["test_mae"] == pytest.approx(0, abs=1e-10)


def test_a_column_that_it_does_not_know_gets_no_weight(tmp_path):
    data = data_of(tmp_path, "abcabc", extra=[5.0, 1.0, 2.0, 9.0, 3.0, 4.0])
    for model in (MODEL, AS_A_NET):
        assert score(model, data)["test_mse"] == pytest.approx(0, abs=1e-20)


@pytest.mark.parametrize("cities", ["abd", "dab", "0ab"])
def test_a_held_out_row_of_an_unknown_level_cannot_be_predicted(tmp_path, cities):
    data = data_of(tmp_path, cities)
    for model in (MODEL, AS_A_NET):
        with pytest.raises(
            NotComparableError, match="in column 'city', which it was not trained on"
        ):
            score(model, data)


def test_an_unknown_level_that_only_training_rows_have_does_no_harm(tmp_path):
    data = data_of(tmp_path, "abcd")
    held = data_of(tmp_path, "abcb").summary
    columns = data.summary.columns
    factors = {"test": held.test.select(columns), "train": data.summary.test}
    both = Summary(factors, held.samples, held.digests).select(columns)
    found = score(MODEL, replace(data, summary=both))
    assert found["test_mse"] == pytest.approx(0, abs=1e-20)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (StoredModel("price", MODEL.encoding, NOTHING), "it predicts 'price'"),
        (StoredModel("y", Encoding(("x", "z"), {}), NOTHING), "no numeric feature 'z'"),
        (StoredModel("y", Encoding(("city",), {}), NOTHING), "no numeric feature 'city'"),
        (StoredModel("y", Encoding((), {"x": ("1", "2")}), NOTHING), "categorical feat"),
    ],
)
def test_what_is_gone_or_of_another_kind_is_said(tmp_path, model, told):
    data = data_of(tmp_path, "abc")
    with pytest.raises(NotComparableError, match=told):
        score(model, data)


def test_a_net_is_scored_on_every_held_out_row_and_on_no_other(tmp_path):
    x = [i / 7 for i in range(200)]
    write(tmp_path / "rows.csv", {"x": x, "y": [v * v for v in x]})
    split = Split(test_fraction=0.3)
    source = opened(tmp_path / "rows.csv")
    whole = read(tmp_path / "rows.csv", split)
    data = Dataset(whole, whole, Encoding(("x",), {}), source, {}, split=split)
    held = torch.cat([*share_rows(source, split, ("test",), ("x", "y"))])
    found = score(StoredModel("y", Encoding(("x",), {}), nn.Sequential(nn.ReLU())), data)
    assert 40 < len(held) < 80
    assert found["test_mae"] == pytest.approx(float((held[:, 0] - held[:, 1]).abs().mean()))
    assert found["test_rmse"] == pytest.approx(found["test_mse"] ** 0.5)


@pytest.mark.parametrize("today", [[5.0, None, 2.0, None], [5.0, 1.0, 2.0, 3.0]])
def test_holes_are_read_as_when_the_model_was_trained(tmp_path, today):
    """Today's mean is another one, or no training row has a hole that held-out rows have."""
    predicted = [10.0 + (3 * v if v is not None else 3 * 100 + 7) for v in (*today, None, 1.0)]
    write(tmp_path / "train.csv", {"x": today, "y": predicted[:4]})
    write(tmp_path / "held.csv", {"x": [None, 1.0], "y": predicted[4:]})
    given = TableData(kind="table", path=str(tmp_path), target="y", missing="impute")
    held, train = (compress(opened(tmp_path, missing="impute"), part, Split())
                   for part in opened(tmp_path).parts)  # fmt: skip
    whole = combine_eight([train, replace(held, factors={"test": held.train})])
    whole = replace(whole, samples={"test": held.sample.select(whole.columns)})
    source = opened(tmp_path / "held.csv", missing="impute")
    data = replace(Dataset.of(whole, given, source, {}), split=EVERY_ROW)
    encoding = Encoding(("x",), {}, means={"x": 100.0}, holes=("x",))
    line = LinearModel(10.0, torch.tensor([3.0, 7.0], dtype=torch.float64))
    for model in (line, nn.Sequential(line)):
        found = score(StoredModel("y", encoding, model), data)
        assert found["test_mse"] == pytest.approx(0, abs=1e-18)
        assert found["test_mae"] == pytest.approx(0, abs=1e-9)
    if None in today:
        with pytest.raises(NotComparableError, match="no value in column 'x'"):
            score(StoredModel("y", Encoding(("x",), {}), NOTHING), data)
