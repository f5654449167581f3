"""Predictions for files: what becomes of rows that cannot be predicted, and of columns kept."""

import math
from dataclasses import replace
from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from plumbline.data.encoding import Encoding
from plumbline.data.files import find_files
from plumbline.errors import InputError
from plumbline.training.batch_prediction import BatchResult, predict_files
from tests.plumbline.tools import write

ENCODING = Encoding(("x",), {"g": ("u", "v")})
each_format = pytest.mark.parametrize("kind", ["csv", "parquet"])


def predict(features: np.ndarray) -> np.ndarray:
    """10 x + 1 where g is v; refuses what a model would refuse."""
    assert np.isfinite(features).all()
    return features @ [10, 1]


def scored(path, output, encoding=ENCODING, **options) -> tuple[BatchResult, dict[str, list]]:
    """What score says, and the output's columns."""
    done = predict_files(find_files(str(path)), encoding, predict, str(output), **options)
    read = pq.read_table if output.suffix == ".parquet" else pacsv.read_csv
    return done, read(output).to_pydict()


@each_format
@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"x": None}, "column 'x', row 3 must be a finite number. Got a missing value"),
        ({"x": math.nan}, "column 'x', row 3 must be a finite number. Got a missing value"),
        ({"x": -math.inf}, "column 'x', row 3 must be a finite number. Got -inf"),
        ({"g": None}, "column 'g', row 3 must be one of u, v. Got a missing value"),
        ({"g": "w"}, "column 'g', row 3 must be one of u, v. Got 'w'"),
    ],
)
def test_a_row_that_cannot_be_predicted_is_an_error_or_an_empty_prediction(
    kind, row, told, tmp_path
):
    columns = {"x": [1.0, 2.0, 3.0, 4.0], "g": ["u", "v", "u", "v"]}
    for name, value in row.items():
        columns[name][2] = value
    path, output = write(tmp_path / f"rows.{kind}", columns), tmp_path / f"out.{kind}"
    with pytest.raises(InputError) as caught:
        scored(path, output)
    assert str(caught.value).startswith(f"{path}: {told}")
    assert "ON_MISSING=null" in str(caught.value)
    assert not output.exists()
    done, found = scored(path, output, on_missing="null")
    assert (done.rows, done.empty) == (4, 1)
    assert told in done.first
    assert found["prediction"] == [10.0, 21.0, None, 41.0]


@each_format
def test_an_interval_stands_beside_each_prediction(kind, tmp_path):
    encoding = replace(ENCODING, half_width=0.5)
    path = write(tmp_path / f"rows.{kind}", {"x": [1.0, None], "g": ["u", "v"]})
    _, found = scored(path, tmp_path / f"out.{kind}", encoding, on_missing="null")
    assert found == {"prediction": [10.0, None], "lower": [9.5, None], "upper": [10.5, None]}


def test_the_first_row_is_told_of_many_files_and_blocks(tmp_path):
    whole = {"x": [1.0] * 150_000, "g": ["u"] * 150_000}
    write(tmp_path / "in" / "1.csv", whole)
    holes = {**whole, "x": [1.0] * 149_998 + [None] * 2}
    write(tmp_path / "in" / "2.csv", holes)
    done, found = scored(tmp_path / "in", tmp_path / "out.csv", on_missing="null")
    assert (done.rows, done.empty) == (300_000, 2)
    assert "2.csv: column 'x', row 149999 " in done.first
    assert found["prediction"] == [10.0] * 299_998 + [None] * 2


@each_format
def test_a_file_of_which_no_row_can_be_predicted_has_only_empty_ones(kind, tmp_path):
    absent = pa.nulls(3, pa.float64()) if kind == "parquet" else [None] * 3
    path = write(tmp_path / f"rows.{kind}", {"x": absent, "g": ["u", "v", "w"], "e": absent})
    done, found = scored(path, tmp_path / "out.parquet", on_missing="null", keep=["all"])
    assert (done.rows, done.empty) == (3, 3)
    assert found["prediction"] == [None] * 3
    assert found["e"] == [None] * 3


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        (pa.array([10, 2]), ("2", "10")),
        (pa.array([True, False]), ("false", "true")),
        (pa.array(["u", "v"]).dictionary_encode(), ("u", "v")),
    ],
    ids=["integers", "booleans", "dictionary"],
)
def test_levels_are_read_as_training_reads_them(values, levels, tmp_path):
    path = write(tmp_path / "a.parquet", {"g": values})
    second = [value == levels[1] for value in pa.compute.cast(values, pa.string()).to_pylist()]
    output = tmp_path / "o.parquet"
    predict_files(find_files(str(path)), Encoding((), {"g": levels}), np.ravel, str(output))
    assert pq.read_table(output)["prediction"].to_pylist() == second


@each_format
def test_a_file_without_a_column_is_refused_and_leaves_no_output(kind, tmp_path):
    path = write(tmp_path / f"rows.{kind}", {"z": [5.0], "g": ["u"]})
    with pytest.raises(InputError, match="has no column 'x'"):
        scored(path, tmp_path / f"out.{kind}")
    assert list(tmp_path.iterdir()) == [path]


def test_integers_and_booleans_are_numbers(tmp_path):
    path = write(tmp_path / "a.parquet", {"x": pa.array([1, 2]), "g": ["u", "u"]})
    assert scored(path, tmp_path / "o.parquet")[1]["prediction"] == [10.0, 20.0]
    path = write(tmp_path / "b.csv", {"x": ["true", "false"], "g": ["u", "u"]})
    assert scored(path, tmp_path / "o.parquet")[1]["prediction"] == [10.0, 0.0]


def test_what_goes_from_csv_to_csv_is_kept_as_it_is_written(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('id,x,g\n007,1,u\n9007199254740993,2,v\n"a,""b",3,u\n')
    predict_files(find_files(str(path)), ENCODING, predict, str(tmp_path / "o.csv"), keep=["id"])
    assert (tmp_path / "o.csv").read_text().splitlines() == [
        '"id","prediction"', '"007",10', '"9007199254740993",21', '"a,""b",30'
    ]  # fmt: skip


@pytest.mark.parametrize("last", [[2.0, None], [None, None]])
def test_a_kept_column_has_the_type_of_the_first_file_in_parquet(last, tmp_path):
    for name, ids in (("a", [1, 2]), ("b", pa.array(last, pa.float64()))):
        write(tmp_path / f"in/{name}.parquet", {"id": ids, "x": [1.0, 2.0], "g": ["u", "v"]})
    found = scored(tmp_path / "in", tmp_path / "o.parquet", keep=["id"])[1]
    assert found["id"] == [1, 2, *last]
    assert pq.read_schema(tmp_path / "o.parquet").field("id").type == pa.int64()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([1, 2], [2.5, 3.0]),
        ([1, 2], ["A1", "A2"]),
        ([date(2024, 1, 1)] * 2, [datetime(2024, 1, 2, 3)] * 2),
    ],
)
def test_what_cannot_be_one_column_in_parquet_is_refused_and_goes_to_csv(first, second, tmp_path):
    for name, values in (("a", first), ("b", second)):
        write(tmp_path / f"in/{name}.parquet", {"id": values, "x": [1.0, 2.0], "g": ["u", "v"]})
    with pytest.raises(InputError, match=r"b\.parquet: a column to keep .*\.csv takes both"):
        scored(tmp_path / "in", tmp_path / "o.parquet", keep=["id"])
    assert scored(tmp_path / "in", tmp_path / "o.csv", keep=["id"])[0].rows == 4


DIALECTS = {
    "a.csv": "x;g\n1,5;u\n2,5;v\n",
    "b.csv": ",x,g\n0,1.5,u\n1,2.5,v\n",
    "c.tsv": "x\tg\n1.5\tu\n2.5\tv\n",
    "d.csv": "x, g\n1.5, u\n2.5, v\n",
}


@pytest.mark.parametrize("name", DIALECTS)
def test_rows_are_read_as_their_own_file_is_written(name, tmp_path):
    (tmp_path / name).write_text(DIALECTS[name])
    done, found = scored(tmp_path / name, tmp_path / "out.csv", keep=["all"])
    assert (done.rows, found["prediction"]) == (2, [15.0, 26.0])


def test_lists_where_names_should_be_are_refused(tmp_path):
    path = write(tmp_path / "rows.parquet", {"x": [1.0], "g": pa.array([["u"]])})
    with pytest.raises(InputError, match=r"column 'g' must hold names or numbers\. Got other"):
        scored(path, tmp_path / "out.csv")


def test_a_column_of_lists_is_kept_in_parquet_and_refused_in_csv(tmp_path):
    columns = {"x": [1.0], "g": ["u"], "lists": pa.array([[1, 2]])}
    path = write(tmp_path / "rows.parquet", columns)
    with pytest.raises(InputError, match="'lists' holds lists or structures, which CSV cannot"):
        scored(path, tmp_path / "out.csv", keep=["all"])
    assert not (tmp_path / "out.csv").exists()
    _, found = scored(path, tmp_path / "out.parquet", keep=["all"])
    assert found["lists"] == [[1, 2]]


def test_numbers_as_text_are_refused_with_a_value(tmp_path):
    (tmp_path / "a.csv").write_text("x,g\n$1.50,u\n$2.50,v\n")
    with pytest.raises(InputError, match=r"column 'x' must hold numbers\. But .* '\$1\.50' in row"):
        scored(tmp_path / "a.csv", tmp_path / "out.csv")


@each_format
def test_a_file_without_rows_is_refused_by_name(kind, tmp_path):
    path = write(
        tmp_path / f"a.{kind}", {"x": pa.array([], pa.float64()), "g": pa.array([], "str")}
    )
    with pytest.raises(InputError, match=rf"a\.{kind}: has a header only"):
        scored(path, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


@each_format
def test_holes_that_training_had_are_filled_and_infinities_are_not(kind, tmp_path):
    columns = {"x": [1.0, None, math.inf], "g": ["v", None, "v"]}
    path, output = write(tmp_path / f"rows.{kind}", columns), tmp_path / f"out.{kind}"
    encoding = Encoding(("x",), {"g": ("u", "(missing)", "v")}, means={"x": 7.0}, holes=("x",))
    done = predict_files(
        *(find_files(str(path)), encoding, lambda f: f @ [1, 10, 100, 1000], str(output)),
        on_missing="null",
    )
    read = pq.read_table if kind == "parquet" else pacsv.read_csv
    assert read(output)["prediction"].to_pylist() == [1001.0, 117.0, None]
    assert (done.rows, done.empty) == (3, 1)
