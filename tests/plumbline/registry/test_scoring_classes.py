"""A stored model of classes on other data: classes go by their names."""

from pathlib import Path

import pytest
import torch
from sklearn.metrics import log_loss
from torch import nn

import plumbline
from plumbline.config.loading import validated
from plumbline.data.encoding import Encoding
from plumbline.data.split import share_rows
from plumbline.library import Model
from plumbline.registry.scoring import NotComparableError, score
from plumbline.training.stored import StoredModel
from tests.plumbline.tools import write


def trained(path: Path, classes: str, target: str = "class") -> Model:
    x = [float(i * 7 % 13) for i in range(len(classes))]
    write(path, {"x": x, "y": [*classes]})
    data = {"kind": "table", "path": str(path), "target": "y", "test_fraction": 0.4}
    raw = {"experiment": "c", "data": data | {"target_type": target}, "training": {"device": "cpu"}}
    return plumbline.train(validated(raw, "c.yaml"))


def stored(model: Model) -> StoredModel:
    return StoredModel("y", model.data.encoding, model.module)


def test_on_its_own_rows_it_scores_what_it_scored(tmp_path: Path) -> None:
    model = trained(tmp_path / "a.csv", "abcab" * 20)
    scores = plumbline.evaluate(model)
    found = score(stored(model), model.data)
    assert found == {n: scores[n] for n in found}
    assert {"test_log_loss", "test_accuracy", "test_roc_auc"} <= {*found}


def test_classes_in_another_order_are_the_same_classes(tmp_path: Path) -> None:
    model = trained(tmp_path / "a.csv", "abcab" * 20)
    layer, order = nn.Linear(1, 3, dtype=torch.float64), [2, 0, 1]
    with torch.no_grad():
        layer.weight.copy_(model.module.weight[order])
        layer.bias.copy_(model.module.bias[order])
    other = StoredModel("y", Encoding(("x",), {}, ("c", "a", "b")), layer)
    expected = score(stored(model), model.data)
    assert score(other, model.data) == pytest.approx(expected)


def test_a_class_that_only_the_model_knows_keeps_its_probability(tmp_path: Path) -> None:
    then, now = trained(tmp_path / "a.csv", "abcab" * 20), trained(tmp_path / "b.csv", "abbab" * 20)
    found = score(stored(then), now.data)
    columns = (*now.data.encoding.features, *now.data.outputs)
    rows = torch.cat([*share_rows(now.data.source, now.config.data, ("test",), columns)])
    p = then.module(rows[:, :1]).softmax(dim=1).numpy()
    observed = rows[:, 1:].argmax(dim=1).numpy()
    assert found["test_log_loss"] == pytest.approx(log_loss(observed, p, labels=[0, 1, 2]))


def test_a_held_out_class_that_it_has_not_met_cannot_be_compared(tmp_path: Path) -> None:
    then, now = trained(tmp_path / "a.csv", "abbab" * 20), trained(tmp_path / "b.csv", "abcab" * 20)
    with pytest.raises(
        NotComparableError, match="have 'c' in column 'y', which it was not trained on"
    ):
        score(stored(then), now.data)


def test_classes_and_a_number_cannot_be_compared(tmp_path: Path) -> None:
    classes = trained(tmp_path / "a.csv", "12212" * 20)
    number = trained(tmp_path / "b.csv", "12212" * 20, "number")
    with pytest.raises(NotComparableError, match="it predicts classes, the data's target is a num"):
        score(stored(classes), number.data)
    with pytest.raises(NotComparableError, match="it predicts numbers, the data's target is class"):
        score(stored(number), classes.data)
