"""What a column looks like is said, with a value, before it does harm."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from tests.plumbline.tools import opened, read, refusal, write

each_format = pytest.mark.parametrize("kind", ["csv", "parquet"])
WRITTEN = {
    "grouped": ["12,345.60", "7.10", "1,000.00"],
    "dollars": ["$3.10", "$12", "-$4.5"],
    "percent": ["45 %", "7%", "3.5 %"],
    "euros": ["1.234,50 €", "3,10 €", "2 €"],
    "spaces": ["12 345,6", "1 000", "2 000"],
}
NO_NUMBERS = {
    "days": ["12.05.2024", "13.05.2024", "14.05.2024"],
    "addresses": ["10.0.0.1", "10.0.0.2", "10.0.0.3"],
    "codes": ["10A", "10B", "11"],
    "times": ["12:30", "13:30", "14:30"],
}


@each_format
@pytest.mark.parametrize("values", WRITTEN.values(), ids=WRITTEN)
def test_numbers_as_text_are_left_out_with_a_warning_and_refused_as_a_feature(
    kind: str, values: list[str], tmp_path: Path
) -> None:
    path = write(tmp_path / f"a.{kind}", {"x": [1.0, 2, 3], "price": values, "y": [1.0, 2, 4]})
    columns = opened(path).columns
    assert columns.numeric == ("x",)
    (warning,) = columns.warnings
    assert "'price' is left out" in warning
    assert f"'{values[0]}' in row 1" in warning
    assert f"'{values[0]}' in row 1" in refusal(path, features=["x", "price"])
    assert f"'{values[0]}' in row 1" in refusal(path, target="price")


@each_format
@pytest.mark.parametrize("values", NO_NUMBERS.values(), ids=NO_NUMBERS)
def test_other_text_is_left_out_without_a_warning(
    kind: str, values: list[str], tmp_path: Path
) -> None:
    path = write(tmp_path / f"a.{kind}", {"x": [1.0, 2, 3], "t": values, "y": [1.0, 2, 4]})
    columns = opened(path).columns
    assert (list(columns.left_out), columns.warnings) == (["t"], ())


@each_format
def test_a_damaged_number_is_named_and_is_a_category_only_if_it_is_asked_for(
    kind: str, tmp_path: Path
) -> None:
    path = write(tmp_path / f"a.{kind}", {"x": ["?", "1.5", "2.5", None], "z": [1.0, 2, 3, 4],
                                          "y": [1.0, 2, 4, 5]})  # fmt: skip
    columns = opened(path).columns
    assert (columns.numeric, columns.left_out) == (("z",), {})
    assert "row 1 has '?'" in columns.warnings[0]
    assert "row 1 has '?'" in refusal(path, features=["x", "z"])
    assert "data.categorical takes it as names" in columns.warnings[0]
    assert opened(path, categorical=["x"], missing="drop").columns.warnings == ()
    assert "data.categorical takes it as names" in refusal(path, features=["x", "z"])
    assert "data.target_type: class takes it as names" in refusal(path, target="x")
    assert opened(path, target="x", target_type="class").columns.has_classes


@each_format
def test_numbers_where_the_first_file_has_text_are_refused(kind: str, tmp_path: Path) -> None:
    write(tmp_path / f"a.{kind}", {"x": [1.0, 2.0], "t": ["u", "v"], "y": [1.0, 2.0]})
    write(tmp_path / f"b.{kind}", {"x": [1.0, 2.0], "t": [3.0, 4.0], "y": [1.0, 2.0]})
    message = refusal(tmp_path)
    assert f"b.{kind}: column 't' holds numbers, and text in the first file" in message
    assert read(tmp_path, exclude=["t"]).rows == 4


@each_format
def test_integers_that_lose_digits_are_named(kind: str, tmp_path: Path) -> None:
    far = [1_700_000_000_000_000_001, 1_700_000_000_000_000_002]
    path = write(tmp_path / f"a.{kind}", {"x": [1, 2], "when": far, "z": far, "y": [1, 2]})
    (warning,) = opened(path, exclude=["z"]).columns.warnings
    assert "'when' holds integers beyond 2^53, such as 1700000000000000001" in warning


def test_a_file_without_a_header_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "iris.csv"
    path.write_text("5.1,3.5,1.4,setosa\n4.9,3.0,1.3,setosa\n6.1,3.1,4.9,virginica\n")
    hint = "'5.1' is an odd name for a column: has "
    assert hint in opened(path, target="setosa").columns.warnings[0]
    assert hint in refusal(path, target="species")


@each_format
def test_large_integers_that_a_float_holds_are_not(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"a.{kind}", {"x": [2**53, 2**60], "y": [1, 2]})
    assert opened(path).columns.warnings == ()


FRAME = pd.DataFrame({"x": [1.0, 2.0, 4.0], "y": [2.0, 3.0, 5.0]}, index=[10, 11, 15])


@pytest.mark.parametrize("name", [None, "id"])
def test_an_index_of_pandas_is_no_feature(name: str | None, tmp_path: Path) -> None:
    frame = FRAME.rename_axis(name)
    frame.to_csv(tmp_path / "a.csv")
    frame.to_parquet(tmp_path / "a.parquet")
    pd.read_csv(tmp_path / "a.csv").to_csv(tmp_path / "b.csv", index=False)
    for file in ("a.csv", "b.csv") if name is None else ():
        columns = opened(tmp_path / file).columns
        assert (columns.numeric, [*columns.left_out.values()]) == (("x",), ["an index"])
    columns = opened(tmp_path / "a.parquet").columns
    (index,) = columns.left_out
    assert (columns.numeric, columns.left_out) == (("x",), {index: "an index"})
    assert opened(tmp_path / "a.parquet", features=[index]).columns.numeric == (index,)


def test_files_with_and_without_an_index_are_one_table(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "a.csv")
    FRAME.to_csv(tmp_path / "b.csv", index=False)
    FRAME.to_csv(tmp_path / "c.csv")
    assert read(tmp_path).columns == ("x", "y")


def test_names_without_text_may_stand_several_times(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(",,x,y,\n1,1,2,3,\n1,2,3,4,\n")
    assert read(tmp_path).columns == ("x", "y")


def test_spaces_after_the_commas_belong_to_no_name_and_no_value(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x, on, g, y\n1, true, a, 2\n2, false, b, 3\n , true, a, 4\n")
    found = read(tmp_path, categorical=["g"], missing="drop")
    assert (found.columns, found.dropped) == (("x", "on", "g=a", "g=b", "y"), 1)


def test_spaces_in_rows_alone_belong_to_no_value(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,on,g,y\n1, TRUE, a, 2\n NA,FALSE,b, 3\n4,FALSE,a,4\n")
    found = read(tmp_path, categorical=["g"], missing="drop")
    assert (found.columns, found.dropped) == (("x", "on", "g=a", "g=b", "y"), 1)


def test_names_with_spaces_or_commas_are_quoted(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", {"living area": [1], "a,b": [2], "y": [3]})
    message = refusal(tmp_path, target="living")
    assert "('living area', 'a,b', y)" in message
    assert "Did you mean 'living area'?" in message


@each_format
def test_excluded_columns_are_no_feature_and_may_differ(kind: str, tmp_path: Path) -> None:
    write(tmp_path / f"a.{kind}", {"id": [7, 8], "x": [1, 2], "y": [1.0, 2.0]})
    write(tmp_path / f"b.{kind}", {"x": [1, 2], "y": [1.0, 2.0]})
    assert read(tmp_path, exclude=["id"]).columns == ("x", "y")
    assert "data.exclude must be a column of" in refusal(tmp_path, exclude=["idd"])
    assert "Did you mean 'id'?" in refusal(tmp_path, exclude=["idd"])


def test_a_categorical_column_may_stand_in_features_too(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", {"x": [1, 2], "g": ["a", "b"], "z": [0, 0], "y": [1.0, 2.0]})
    columns = opened(tmp_path, features=["g", "x"], categorical=["g"]).columns
    assert (columns.numeric, list(columns.categorical)) == (("x",), ["g"])


def test_a_text_target_is_called_classes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", {"x": [1, 2], "y": ["a", "b"]})
    message = refusal(path, target_type="number")
    assert "Got text instead, which is classes: leave data.target_type out" in message
    assert "data.categorical" not in message


def test_a_date_is_not_sent_to_a_key_that_refuses_it(tmp_path: Path) -> None:
    when = pa.array([0, 1], pa.timestamp("s"))
    path = write(tmp_path / "a.parquet", {"x": [1, 2], "when": when, "y": [1.0, 2.0]})
    assert "data.categorical" not in refusal(path, features=["when"], dates=[])
    assert "data.categorical: column 'when'" in refusal(path, categorical=["when"])
