"""Which columns are read, and what of them is refused."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from plumbline.data.files import find_files
from plumbline.data.header import read_header
from plumbline.errors import InputError
from tests.plumbline.tools import opened, read, refusal, write

each_format = pytest.mark.parametrize("kind", ["csv", "parquet"])
GOOD = {"x": [1.0, 2.0], "z": [3.0, 5.0], "y": [2.0, 4.0]}


@each_format
def test_every_other_column_that_tells_something_is_a_feature(kind, tmp_path):
    rows = 40
    numbers = {"x": [0.5 * i for i in range(rows)], "on": [i % 3 == 0 for i in range(rows)]}
    text = {
        "colour": ["red", "blue"] * 20,
        "code": [f"u-{i}" for i in range(rows)],
        "town": [f"town {i % 30}" for i in range(rows)],
        "note": [f"the {i} th time that it rained" for i in range(rows)],
    }
    other = {"order_id": [*range(100, 100 + rows)], "t": [*range(rows)], "paid": [*range(rows)]}
    other |= {name: [*range(rows)] for name in ("PID", "caseid", "idno")}
    path = write(tmp_path / f"a.{kind}", {**numbers, **text, **other, "y": [1.0, 2.0] * 20})
    columns = opened(path).columns
    assert columns.numeric == ("x", "on", "t", "paid")
    assert columns.categorical == {"colour": ()}
    assert columns.left_out == {
        "code": "an identifier, 40 different values in 40 rows",
        "town": "an identifier, 30 different values in 40 rows",
        "note": "free text, 40 different values in 40 rows",
        **dict.fromkeys(
            ("order_id", "PID", "caseid", "idno"), "an identifier, 40 different values in 40 rows"
        ),
    }
    few = opened(path, max_levels=2, exclude=["town"]).columns
    assert few.categorical == {"colour": ()}
    named = opened(path, features=["order_id", "x", "town"]).columns
    assert (named.numeric, [*named.categorical], named.left_out) == (
        ("order_id", "x"),
        ["town"],
        {},
    )
    named = opened(path, categorical=["town"], exclude=["colour"]).columns
    assert [*named.categorical] == ["town"]


@each_format
def test_more_levels_than_max_levels_are_left_out_and_empty_columns_too(kind, tmp_path):
    many = {"g": [f"g{i % 12}" for i in range(60)], "x": [*range(60)], "y": [*range(60)]}
    none = pa.nulls(60) if kind == "parquet" else [None] * 60
    columns = opened(write(tmp_path / f"a.{kind}", {"none": none, **many}), max_levels=11).columns
    assert (columns.numeric, columns.categorical) == (("x",), {})
    assert columns.left_out["g"] == "12 different values in 60 rows, more than data.max_levels"
    assert list(columns.left_out) == ["none", "g"]


@each_format
def test_named_features_keep_their_order(kind, tmp_path):
    table = opened(write(tmp_path / f"a.{kind}", GOOD), features=["z", "x"])
    assert table.names == ("z", "x", "y")


@each_format
def test_kinds_are_told_apart(kind, tmp_path):
    columns = {"n": [1, 2], "f": [0.5, 1.5], "b": [True, False], "t": ["u", "v"]}
    (file,) = find_files(str(write(tmp_path / f"a.{kind}", columns)))
    assert read_header(file).kinds == {"n": "number", "f": "number", "b": "boolean", "t": "text"}


def test_a_timestamp_without_dates_is_no_feature_and_is_refused_where_it_is_named(tmp_path):
    when = pa.array([0, 1], pa.timestamp("s"))
    path = write(tmp_path / "a.parquet", {**GOOD, "when": when})
    left_out = opened(path, dates=[]).columns.left_out
    assert left_out == {"when": "dates, which data.dates takes"}
    assert "'when'" in refusal(path, features=["when"], dates=[])


def test_the_first_value_that_is_there_decides_a_csv_column(tmp_path):
    columns = {"x": [None, "NA", "true"], "z": [None, None, 1], "y": [1, 2, 3]}
    (file,) = find_files(str(write(tmp_path / "a.csv", columns)))
    assert read_header(file).kinds == {"x": "boolean", "z": "number", "y": "number"}


def test_a_csv_column_of_words_is_text_even_if_a_number_comes_first(tmp_path):
    """Models of cars, and a target of classes; a typing error in numbers is still found."""
    model, mark = ["626", "Dynasty", "Camry"], ["1", "10A", "10A"]
    path = write(tmp_path / "a.csv", {"model": model * 30, "x": [1, 2, 3] * 30, "y": mark * 30})
    columns = opened(path).columns
    assert (columns.numeric, [*columns.categorical]) == (("x",), ["model", "y"])
    assert {"model=626", "y=1", "y=10A"} <= {*read(path).columns}
    path = write(tmp_path / "b.csv", {"x": [1, "3 apples", 2], "y": [1, 2, 3]})
    assert "column 'x', row 2 must be a number. Got '3 apples' instead" in refusal(path)


@each_format
@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ({"target": "yy"}, "data.target"),
        ({"features": ["x", "q"]}, "data.features"),
        ({"categorical": ["q"]}, "data.categorical"),
    ],
)
def test_a_name_that_is_no_column_is_refused_with_key_file_and_columns(kind, keys, key, tmp_path):
    message = refusal(write(tmp_path / f"a.{kind}", GOOD), **keys)
    assert message.startswith(f"{key} must be a column of ")
    assert f"a.{kind} (x, z, y)" in message


@each_format
@pytest.mark.parametrize("keys", [{"target": "t", "target_type": "number"}, {"weight": "t"}])
def test_text_is_refused_as_target_of_numbers_or_weight(kind, keys, tmp_path):
    message = refusal(write(tmp_path / f"a.{kind}", {**GOOD, "t": ["u", "v"]}), **keys)
    assert f"data.{next(iter(keys))}: column 't'" in message
    assert f"a.{kind} must hold numbers" in message


@each_format
def test_a_table_of_nothing_but_the_target_is_refused(kind, tmp_path):
    message = refusal(write(tmp_path / f"a.{kind}", {"t": ["u", "v"], "y": [1.0, 2.0]}))
    assert f"a.{kind}: has no column besides the target 'y' that can be" in message


def test_a_name_that_stands_twice_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("x,x,y\n1,2,3\n")
    assert "a.csv: column names must differ. Got 'x' 2 times" in refusal(tmp_path)
    twice = pa.Table.from_arrays([pa.array([1.0])] * 3, names=["x", "x", "y"])
    pq.write_table(twice, tmp_path / "b.parquet")
    assert "'x' 2 times" in refusal(tmp_path / "b.parquet")


@pytest.mark.parametrize("content", [b"", b"\n\n", b"   \n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_an_empty_csv_file_is_refused_by_name(content, tmp_path):
    (tmp_path / "a.csv").write_bytes(content)
    assert "a.csv" in refusal(tmp_path)


@each_format
def test_a_header_without_rows_leaves_nothing_to_train_on(kind, tmp_path):
    empty = pa.array([], pa.float64()) if kind == "parquet" else []
    message = refusal(write(tmp_path / f"a.{kind}", {"x": empty, "y": empty}))
    assert "at least one row to train on. Got 0 rows" in message


@each_format
def test_a_file_without_rows_among_others_adds_nothing(kind, tmp_path):
    empty = pa.array([], pa.float64()) if kind == "parquet" else []
    write(tmp_path / f"a.{kind}", dict.fromkeys(GOOD, empty))
    write(tmp_path / f"b.{kind}", GOOD)
    assert read(tmp_path).rows == 2


def test_a_first_csv_file_that_is_only_a_header_does_not_say_what_columns_hold(tmp_path):
    (tmp_path / "1.csv").write_text("g,x,y\n")
    (tmp_path / "2.csv").write_text("g,x,y\na,1,2\nb,3,4\na,5,6\nb,2,2\n")
    assert opened(tmp_path).columns.numeric == ("x",)
    assert read(tmp_path).rows == 4


def test_bytes_that_are_no_utf8_are_refused_by_name(tmp_path):
    (tmp_path / "a.csv").write_bytes("größe,y\n1,2\n".encode("latin-1"))
    assert "a.csv: is not in utf-8. It looks like Windows-1252" in refusal(tmp_path)


OTHERS = {
    "a column too few": ({"x": [1.0], "y": [2.0]}, "'z' is missing"),
    "a column too many": ({**GOOD, "w": [1.0, 1.0]}, "'w' is new"),
}


@each_format
@pytest.mark.parametrize(("second", "what"), OTHERS.values(), ids=OTHERS.keys())
def test_files_with_other_columns_are_refused_by_name(kind, second, what, tmp_path):
    write(tmp_path / f"a.{kind}", GOOD)
    write(tmp_path / f"b.{kind}", second)
    message = refusal(tmp_path)
    assert f"b.{kind}: its columns differ from the first file's" in message
    assert what in message


@each_format
def test_other_columns_do_not_matter_where_features_are_named(kind, tmp_path):
    write(tmp_path / f"a.{kind}", GOOD)
    write(tmp_path / f"b.{kind}", {"y": [6.0], "w": [0.0], "x": [3.0]})
    assert read(tmp_path, features=["x"]).rows == 3
    write(tmp_path / f"c.{kind}", {"y": [6.0], "w": [0.0]})
    assert f"c.{kind}: has no column 'x'" in refusal(tmp_path, features=["x"])


@each_format
def test_columns_are_found_by_name_whatever_their_order(kind, tmp_path):
    write(tmp_path / f"a.{kind}", GOOD)
    write(tmp_path / f"b.{kind}", {"y": [6.0], "z": [0.0], "x": [3.0]})
    whole = read(tmp_path)
    assert whole.train.raw()[0, 1:].tolist() == pytest.approx([6 / 3**0.5, 8 / 3**0.5, 12 / 3**0.5])


@each_format
def test_a_column_that_changes_its_kind_between_files_is_refused(kind, tmp_path):
    write(tmp_path / f"a.{kind}", GOOD)
    write(tmp_path / f"b.{kind}", {**GOOD, "z": ["u", "v"]})
    message = refusal(tmp_path)
    assert f"b.{kind}: column 'z' must hold what it holds in the first file, number" in message
    assert "Got text" in message


@each_format
@pytest.mark.parametrize("first", [[None, None], [1, 2]])
def test_names_may_be_nothing_or_numbers_in_one_file_and_words_in_another(kind, first, tmp_path):
    write(tmp_path / f"a.{kind}", {**GOOD, "z": first})
    write(tmp_path / f"b.{kind}", {**GOOD, "z": ["v", "2"]})
    found = read(tmp_path, categorical=["z"], missing="impute")
    levels = {"z=(missing)", "z=2", "z=v"} if first[0] is None else {"z=1", "z=2", "z=v"}
    assert {name for name in found.columns if name.startswith("z=")} == levels
    message = refusal(tmp_path, features=["x", "z"], missing="impute")
    assert "in the first file, number or nothing. Got text instead; data.categorical" in message


@each_format
def test_integers_in_one_file_and_fractions_in_another_are_both_numbers(kind, tmp_path):
    write(tmp_path / f"a.{kind}", {"x": [1, 2], "y": [1, 2]})
    write(tmp_path / f"b.{kind}", {"x": [0.5], "y": [1.5]})
    assert read(tmp_path).rows == 3


def test_a_boolean_column_that_is_all_missing_in_one_csv_file_is_dropped_not_refused(tmp_path):
    write(tmp_path / "a.csv", {"x": ["true", "false"], "y": [1, 2]})
    write(tmp_path / "b.csv", {"x": [None, None], "y": [1, 2]})
    found = read(tmp_path, missing="drop")
    assert (found.rows, found.dropped) == (2, 2)


def test_a_file_that_is_gone_is_an_error_that_may_pass(tmp_path):
    table = opened(write(tmp_path / "a.csv", GOOD))
    (tmp_path / "a.csv").unlink()
    with pytest.raises(OSError, match=r"a\.csv") as caught:
        next(table.blocks(table.parts[0]))
    assert not isinstance(caught.value, InputError)


@pytest.mark.parametrize("keys", [{}, {"categorical": ["c", "c=b"]}, {"target": "c=b"}])
def test_a_column_named_like_a_level_is_refused(keys, tmp_path):
    path = write(tmp_path / "a.csv", {"c": ["a", "b"], "c=b": [1, 2], "x": [1, 2], "y": [1, 2]})
    assert "column 'c=b' is named like a level" in refusal(path, **{"categorical": ["c"], **keys})
    assert read(path, categorical=["c"], exclude=["c=b"]).rows == 2


def test_a_column_named_like_a_part_of_a_date_is_refused(tmp_path):
    """It would be read in its place."""
    when = [f"2024-01-{day:02}T0{day}:00" for day in range(1, 9)]
    columns = {"t": when, "t.hour": list(range(8)), "t.hours": list(range(8)), "y": list(range(8))}
    path = write(tmp_path / "a.csv", columns)
    assert "column 't.hour' is named like a part of column 't'. Rename it" in refusal(path)
    assert read(path, exclude=["t.hour"]).rows == read(path, dates=[]).rows == 8


@each_format
@pytest.mark.parametrize(
    ("y", "target_type", "classes"),
    [
        (["b", "a", "b"], "auto", ("y=b", "y=a")),
        ([True, False, True], "auto", ("y=True", "y=False")),
        ([2, 1, 2], "class", ("y=2", "y=1")),
        ([2, 1, 2], "auto", ()),
    ],
)
def test_a_target_of_classes_becomes_indicators_beside_a_target_of_zeros(
    kind, y, target_type, classes, tmp_path
):
    table = opened(write(tmp_path / f"a.{kind}", {"x": [1, 2, 4], "y": y}), target_type=target_type)
    assert (table.columns.has_classes, table.columns.features) == (bool(classes), ("x",))
    (block,) = table.blocks(table.parts[0])
    assert block.columns == ("x", *classes, "y")
    expected = [[1, 0, 1], [0, 1, 0], [0, 0, 0]] if classes else [[2, 1, 2]]
    assert block.rows[2:].tolist() == expected
