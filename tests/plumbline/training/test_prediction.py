"""Predictions for numbers, lists and mappings, in raw units."""

import pandas as pd
import pytest
import torch

from plumbline.config.loading import validated
from plumbline.config.schema import Training
from plumbline.data.encoding import Encoding, EncodingError
from plumbline.data.inputs import check_inputs
from plumbline.errors import InputError
from plumbline.library import read
from plumbline.training.experiment import train
from plumbline.training.model import LinearModel
from plumbline.training.plan import make_plan
from plumbline.training.prediction import predict
from plumbline.training.trained import Trained
from tests.plumbline.tools import compressed, random_rows, write

TWO = Encoding(("a", "b"), {})
MIXED = Encoding(("a",), {"g": ("u", "v")})


def trained(intercept: float, weights: list[float]) -> Trained:
    """A model that is known beforehand."""
    plan = make_plan(compressed(random_rows(9, len(weights))), Training())
    given = torch.tensor(weights, dtype=torch.float64)
    return Trained(LinearModel(intercept, given), {}, exact=plan)


def values(model: Trained, encoding: Encoding, rows: list) -> list[float]:
    return [each.value for each in predict(model, encoding, rows)]


def test_lists_and_mappings_in_any_order_mean_the_same():
    model = trained(1.0, [10.0, 100.0])
    rows = [[2.0, 3.0], {"a": 2.0, "b": 3.0}, {"b": 3.0, "a": 2.0}]
    assert values(model, TWO, rows) == [321.0] * 3


def test_a_number_stands_for_a_row_of_one():
    encoding = Encoding(("x",), {})
    assert values(trained(1.0, [2.0]), encoding, [5.0, [5.0], {"x": 5.0}]) == [11.0] * 3


def test_levels_are_encoded():
    model = trained(1.0, [2.0, 40.0])
    assert values(model, MIXED, [[5.0, "u"], [5.0, "v"]]) == [11.0, 51.0]


def test_labels_are_the_values_in_the_columns_order():
    rows = [{"g": "v", "a": 1.5}, [2.0, "u"]]
    assert [p.label for p in predict(trained(0.0, [1.0, 1.0]), MIXED, rows)] == ["1.5_v", "2.0_u"]


def test_columns_that_are_no_features_are_ignored():
    (found,) = predict(trained(0.0, [1.0, 1.0]), TWO, [{"c": 9.0, "b": 2.0, "a": 1.0}])
    assert (found.value, found.label) == (3.0, "1.0_2.0")


def test_no_rows_give_no_predictions():
    assert predict(trained(0.0, [1.0, 1.0]), TWO, []) == []


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (5.0, "2 value(s): a, b. Got 5.0"),
        ([1.0], "2 value(s): a, b. Got [1.0]"),
        ([1.0, 2.0, 3.0], "2 value(s): a, b"),
        ({"a": 1.0}, "must have the columns a, b. Got a instead"),
        ({"a": 1.0, "c": 3.0}, "must have the columns a, b. Got a, c instead"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_with_its_place(row, told):
    with pytest.raises(InputError) as caught:
        predict(trained(0.0, [1.0, 1.0]), TWO, [[1.0, 1.0], row])
    assert "prediction.inputs[1] must " in str(caught.value)
    assert told in str(caught.value)


def test_rows_that_do_not_fit_a_table_are_refused_before_it_is_read(tmp_path):
    path = write(tmp_path / "a.csv", {"a": [1.0], "b": [2.0], "y": [3.0]})
    raw = {"experiment": "e", "data": {"kind": "table", "path": str(path), "target": "y"}}
    fits = validated({**raw, "prediction": {"inputs": [[1.0, 2.0]]}}, "c.yaml")
    check_inputs(fits)
    wrong = validated({**raw, "prediction": {"inputs": [[1.0, 2.0], [1.0]]}}, "c.yaml")
    with pytest.raises(InputError, match=r"prediction\.inputs\[1\] must be 2 value"):
        check_inputs(wrong)


ENCODING = Encoding(("x",), {"g": ("a", "b", "c"), "h": ("1", "2")})


def encoded(row: dict) -> list[float]:
    """One row's features."""
    return ENCODING.encode(pd.DataFrame([row]))[0].tolist()


def test_a_row_is_encoded_in_the_order_of_the_features():
    assert ENCODING.features == ("x", "g=b", "g=c", "h=2")
    assert encoded({"h": "2", "x": 7.5, "g": "c"}) == [7.5, 0.0, 1.0, 1.0]
    assert encoded({"h": "1", "x": 7, "g": "a"}) == [7.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("level", [2, 2.0, "2"])
def test_a_level_that_looks_like_a_number_can_be_given_as_one(level):
    assert encoded({"x": 0.0, "g": "a", "h": level})[-1] == 1.0


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"x": 1.0, "g": "z", "h": "1"}, "column 'g' must be one of a, b, c. Got 'z' instead."),
        ({"x": "one", "g": "a", "h": "1"}, "column 'x' must be a number. Got 'one' instead."),
    ],
)
def test_what_cannot_be_encoded_is_refused_with_column_allowed_and_found(row, told):
    with pytest.raises(EncodingError) as caught:
        encoded(row)
    assert str(caught.value) == told
    with pytest.raises(InputError) as refused:
        predict(trained(0.0, [1.0] * 4), ENCODING, [{"x": 1.0, "g": "a", "h": "1"}, row])
    assert str(refused.value) == f"prediction.inputs[1]: {told}"


def test_an_input_with_a_level_that_no_row_has_costs_no_training(tmp_path):
    path = write(tmp_path / "rows.csv", {"g": ["a", "b", "c"] * 4, "y": [1.0, 2.0, 4.0] * 4})
    data = {"kind": "table", "path": str(path), "target": "y"}
    raw = {"experiment": "e", "data": data, "prediction": {"inputs": [["a"], ["d"]]}}
    config, epochs = validated(raw, "c.yaml"), []
    with pytest.raises(InputError, match=r"^prediction\.inputs\[1\]: column 'g' must be one of a"):
        train(
            config, read(config.data, "cpu"), "cpu", lambda epoch, loss, **_: epochs.append(epoch)
        )
    assert epochs == []
