"""What is recorded of a run beside its numbers."""

from pathlib import Path

import plumbline
from plumbline.config.loading import validated
from plumbline.config.schema import Split, TableData
from plumbline.linear.compress import compress
from plumbline.linear.dataset import Dataset
from plumbline.linear.summary import combine
from plumbline.training.experiment import Result
from tasks.recording import column_types, logistic_table
from tests.plumbline.tools import opened, write


def test_columns_have_the_types_of_the_data_and_the_target_is_one_of_them(tmp_path: Path) -> None:
    columns = {"on": [True, False, True], "x": [1, 2, 4], "g": ["a", "b", "a"], "y": [1.5, 2.5, 4]}
    path = write(tmp_path / "a.csv", columns)
    source = opened(path, categorical=["g"])
    data = TableData(kind="table", path=str(path), target="y", categorical=["g"])
    whole = combine(compress(source, part, Split()) for part in source.parts)
    types = column_types(Dataset.of(whole, data, source, {}))
    assert types == {"on": "boolean", "x": "double", "g": "string", "y": "double"}


def test_a_coefficient_that_the_data_do_not_determine_says_what_its_column_equals(tmp_path) -> None:
    x = [i * 7 % 13 for i in range(60)]
    rows = {"x": x, "twice": [2 * each for each in x], "y": ["no", "yes", "yes"] * 20}
    data = {"kind": "table", "path": str(write(tmp_path / "a.csv", rows)), "target": "y"}
    found = plumbline.train(validated({"experiment": "t", "data": data}, "t.yaml"))
    table = logistic_table(Result(found.config, found.data, found.trained, {}, []))
    assert table["yes"]["twice"] == {"value": 0.0, "standard_error": None, "equals": {"x": 2}}
