"""What is recorded of a run beside its numbers."""

from pathlib import Path

import pytest

import plumbline
from plumbline.config.loading import validated
from plumbline.config.schema import Split, TableData
from plumbline.linear.compress import compress
from plumbline.linear.dataset import Dataset
from plumbline.linear.summary import combine
from plumbline.training.experiment import Result
from tasks.coefficients import likelihood_table
from tasks.recording import column_types
from tests.plumbline.tools import opened, write


def test_columns_have_the_types_of_the_data_and_the_target_is_one_of_them(tmp_path: Path) -> None:
    columns = {"on": [True, False, True], "x": [1, 2, 4], "g": ["a", "b", "a"], "y": [1.5, 2.5, 4]}
    path = write(tmp_path / "a.csv", columns)
    source = opened(path, categorical=["g"])
    data = TableData(kind="table", path=str(path), target="y", categorical=["g"])
    whole = combine(compress(source, part, Split()) for part in source.parts)
    types = column_types(Dataset.of(whole, data, source, {}))
    assert types == {"on": "boolean", "x": "double", "g": "string", "y": "double"}


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
