"""The data as training sees it; what tells nothing or is beyond float64 is left out or refused."""

from pathlib import Path

import pytest

from plumbline.config.schema import TableData
from plumbline.errors import InputError
from plumbline.linear.dataset import Dataset
from tests.plumbline.tools import opened, read, write


def prepared(path, **data: object) -> Dataset:
    given = TableData(kind="table", path=str(path), target="y", **data)
    return Dataset.of(read(path, **data), given, opened(path, **data), {})


def test_a_column_with_one_level_has_no_feature(tmp_path):
    path = write(tmp_path / "a.csv", {"x": [1, 2], "g": ["a", "a"], "y": [1.0, 2.0]})
    data = prepared(path, categorical=["g"])
    assert (data.encoding.features, data.encoding.levels) == (("x",), {"g": ("a",)})
    assert data.summary.columns == ("x", "y")


def test_a_table_with_nothing_but_that_is_refused(tmp_path):
    columns = {"g": ["a", "a"], "d": ["2024-01-01", "2024-01-01"], "y": [1.0, 2.0]}
    with pytest.raises(InputError, match=r"varies in the training rows\. Got only d, g, with one"):
        prepared(write(tmp_path / "a.csv", columns), categorical=["g"])


def test_features_that_are_categorical_too_are_narrowed_as_such(tmp_path):
    path = write(tmp_path / "a.csv", {"x": [1, 2], "g": ["a", "b"], "z": [3, 4], "y": [1.0, 2.0]})
    narrow = TableData(kind="table", path=str(path), target="y", features=["g", "z"],
                       categorical=["g"])  # fmt: skip
    data = prepared(path, categorical=["g"]).narrowed(narrow)
    assert data.encoding.features == ("z", "g=b")


def scaled(path: Path, scale: float, column: str) -> Path:
    columns = {"x": [1.0, 2.0, 4.0, 7.0], "y": [1.0, 5.0, 3.0, 2.0]}
    columns[column] = [scale * value for value in columns[column]]
    return write(path / "a.csv", columns)


@pytest.mark.parametrize("scale", [5e-320, 1e-200, 1e200])
@pytest.mark.parametrize("column", ["x", "y"])
def test_columns_whose_squares_float64_cannot_hold_are_refused_by_name(scale, column, tmp_path):
    with pytest.raises(InputError, match=f"column '{column}' must vary by .* another unit"):
        prepared(scaled(tmp_path, scale, column))


def test_a_constant_column_is_no_matter_of_size(tmp_path):
    path = write(tmp_path / "a.csv", {"x": [5e-320] * 3, "y": [1.0, 2.0, 4.0]})
    assert prepared(path).summary.rows == 3
