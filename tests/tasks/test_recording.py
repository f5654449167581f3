"""What is recorded of a run beside its numbers."""

from pathlib import Path

from plumbline.config.schema import Split, TableData
from plumbline.linear.compress import compress
from plumbline.linear.dataset import Dataset
from plumbline.linear.summary import combine
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
