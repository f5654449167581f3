"""A stored model on other data predicts what it predicted, or says why it cannot."""

from pathlib import Path

import pytest
import torch

from plumbline.config.schema import TableData
from plumbline.data.encoding import Encoding
from plumbline.linear.summary import Summary
from plumbline.registry.fitted import Fitted, NotComparableError
from plumbline.training.evaluation import held_out_scores
from plumbline.training.model import LinearModel
from tests.plumbline.tools import read, write

EFFECT = {"a": 0.0, "b": 2.0, "c": -1.0}
MODEL = Fitted(
    "y",
    Encoding(("x",), {"city": ("a", "b", "c")}),
    LinearModel(10.0, torch.tensor([3.0, 2.0, -1.0], dtype=torch.float64)),
)
NOTHING = LinearModel(0.0, torch.zeros(2, dtype=torch.float64))


def data_of(tmp_path, cities: str, **more: list[float]) -> tuple[Summary, Encoding]:
    """Held-out rows whose target is what MODEL predicts, in features of their own."""
    x = [float(i * i % 7) for i in range(len(cities))]
    y = [10 + 3 * v + EFFECT.get(c, 0.0) for v, c in zip(x, cities, strict=True)]
    path = write(tmp_path / "rows.csv", {"x": x, "city": list(cities), **more, "y": y})
    whole = read(path, categorical=["city"])
    whole = Summary({"test": whole.train}, whole.sample, whole.digests)
    encoding = Encoding.of(whole.columns[:-1], _table(path).categorical)
    return whole.select((*encoding.features, "y")), encoding


def _table(path: Path) -> TableData:
    return TableData(kind="table", path=str(path), target="y", categorical=["city"])


@pytest.mark.parametrize("cities", ["abcabc", "bcbcbc", "cccc", "bbab", "cbabcab"])
def test_the_same_predictions_whatever_levels_and_reference_today_has(tmp_path, cities):
    data, encoding = data_of(tmp_path, cities)
    found = held_out_scores(MODEL.on(data, encoding), data)
    assert found["test_mse"] == pytest.approx(0, abs=1e-20)
    assert found["test_mae"] == pytest.approx(0, abs=1e-10)


def test_a_column_that_it_does_not_know_gets_no_weight(tmp_path):
    data, encoding = data_of(tmp_path, "abcabc", extra=[5.0, 1.0, 2.0, 9.0, 3.0, 4.0])
    found = MODEL.on(data, encoding)
    assert dict(zip(encoding.features, found.weights.tolist(), strict=True))["extra"] == 0.0
    assert held_out_scores(found, data)["test_mse"] == pytest.approx(0, abs=1e-20)


@pytest.mark.parametrize("cities", ["abd", "dab", "0ab"])
def test_a_held_out_row_of_an_unknown_level_cannot_be_predicted(tmp_path, cities):
    data, encoding = data_of(tmp_path, cities)
    with pytest.raises(NotComparableError, match="in column 'city', which it has not met"):
        MODEL.on(data, encoding)


def test_an_unknown_level_that_only_training_rows_have_does_no_harm(tmp_path):
    data, encoding = data_of(tmp_path, "abcd")
    held, _ = data_of(tmp_path, "abcb")
    both = Summary(
        {"test": held.test.select(data.columns), "train": data.test}, held.sample, held.digests
    )
    found = held_out_scores(MODEL.on(both, encoding), both.select((*encoding.features, "y")))
    assert found["test_mse"] == pytest.approx(0, abs=1e-20)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (Fitted("price", MODEL.encoding, NOTHING), "it predicts 'price'"),
        (Fitted("y", Encoding(("x", "z"), {}), NOTHING), "no numeric feature 'z'"),
        (Fitted("y", Encoding(("city",), {}), NOTHING), "no numeric feature 'city'"),
        (Fitted("y", Encoding((), {"x": ("1", "2")}), NOTHING), "categorical feat"),
    ],
)
def test_what_is_gone_or_of_another_kind_is_said(tmp_path, model, told):
    data, encoding = data_of(tmp_path, "abc")
    with pytest.raises(NotComparableError, match=told):
        model.on(data, encoding)
