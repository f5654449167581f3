"""Where a CSV file goes wrong is said with file, column and row, however far down it is."""

import numpy as np
import pyarrow as pa
import pytest

from plumbline.data.batches import BLOCK_ROWS, as_text, class_names, read_batches
from plumbline.data.encoding import Encoding
from plumbline.data.header import read_header
from plumbline.errors import InputError
from tests.plumbline.tools import opened, refusal, write

FAR = BLOCK_ROWS + 1_000  # beyond the first block
ROWS = FAR + 1_000


def numbers() -> dict[str, list]:
    x = [0.1 * i - 7 for i in range(ROWS)]
    return {"x": x, "z": [(-1.0) ** i / (i + 1) for i in range(ROWS)], "y": [2 * v for v in x]}


def assert_names_place(message: str) -> None:
    assert f"bad.csv: column 'z', row {FAR} must be a" in message


@pytest.mark.parametrize("value", ["abc", "1_000", "0x10", "--1", "1e", "1 2", "٣", "true"])
def test_what_is_no_number_is_refused_with_file_column_and_row(value, tmp_path):
    columns = numbers()
    columns["z"][FAR - 1] = value
    message = refusal(write(tmp_path / "bad.csv", columns))
    assert_names_place(message)
    assert value in message


@pytest.mark.parametrize("value", ["maybe", "2", "tRuE"])
def test_what_is_no_boolean_is_refused_with_file_column_and_row(value, tmp_path):
    columns = numbers() | {"z": ["true"] * ROWS}
    columns["z"][FAR - 1] = value
    assert_names_place(refusal(write(tmp_path / "bad.csv", columns)))


@pytest.mark.parametrize("line", ["1,2", "1,2,3,4", "1"])
def test_a_ragged_row_is_refused_with_file_and_row(line, tmp_path):
    path = write(tmp_path / "bad.csv", numbers())
    lines = path.read_text().splitlines()
    lines[FAR] = line
    path.write_text("\n".join(lines))
    message = refusal(path)
    assert f"bad.csv: row {FAR} must have 3 values" in message
    assert f"Got {line.count(',') + 1}" in message


def test_values_longer_than_pythons_csv_reads_by_itself_are_no_fault(tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text(f"c,x,y\n{'a' * 200_000},1,2\nb,2\n")
    assert "bad.csv: row 2 must have 3 values" in refusal(path, categorical=["c"])


@pytest.mark.parametrize("after", [10, 1_000_000, 2_000_000])  # in one block, two and three
def test_a_quote_that_is_never_closed_is_named_by_its_row(after, tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text('c,x,y\na,1,2\n"b,2,3\n' + "a,1,2\n" * after)
    assert "bad.csv: row 2 cannot be read" in (message := refusal(path, categorical=["c"]))
    assert "quote" in message


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_blank_lines_and_lines_in_quotes_are_no_rows_of_their_own(ending, tmp_path):
    lines = ["c,x,y", "", '"a', 'b",1,2', "", '"c', "", 'd",2']
    path = tmp_path / "bad.csv"
    path.write_text(ending.join([*lines, ""]), newline="")
    assert "bad.csv: row 2 must have 3 values" in refusal(path)
    path.write_text(ending.join([*lines[:-1], 'd",2,3', "e,?,4", ""]), newline="")
    assert "bad.csv: column 'x', row 3 must be a number. Got '?'" in refusal(path)


def test_a_file_whose_header_changes_before_its_rows_are_read_is_an_error_that_may_pass(tmp_path):
    table = opened(write(tmp_path / "a.csv", {"x": [1, 2], "y": [1, 2]}))
    header = read_header(table.files[0])
    (tmp_path / "a.csv").write_text("z,y\n1,2\n")
    with pytest.raises(InputError, match=r"a\.csv: is damaged or cut off .*Column 'x'"):
        next(read_batches(header, {"x": "number"}))
    with pytest.raises(OSError, match="changed while it was read"):
        table.files[0].check_unchanged()


NUMBERS = [1e-5, 0.1, 2.5, 7.0, 1e16]
FLOATS = [pa.array(NUMBERS), pa.array(NUMBERS).dictionary_encode()]
FLOATS += [pa.array(np.array(NUMBERS[1:-1], kind)) for kind in (np.float16, np.float32)]


@pytest.mark.parametrize("values", FLOATS, ids=lambda values: str(values.type))
def test_numbers_that_are_levels_are_spelt_as_those_of_a_frame(values: pa.Array) -> None:
    levels = as_text(values)
    assert class_names(values) == levels
    if values.type != pa.float16():
        assert {*levels.to_pylist()} <= {"1e-05", "0.1", "2.5", "7", "10000000000000000"}
    encoding, frame = (
        Encoding((), {"c": (*levels.to_pylist(),)}),
        pa.table({"c": values}).to_pandas(),
    )
    for rows in (frame, frame.astype(object)):  # as mlflow.pyfunc passes them on
        assert encoding.read(rows)[0].tolist() == [*range(len(values))]


def test_a_number_that_is_nan_is_no_level(tmp_path):
    columns = {"c": pa.array([1.0, float("nan"), 2.0]), "y": [1, 2, 3]}
    path = write(tmp_path / "bad.parquet", columns)
    assert "column 'c', row 2 must be a level" in refusal(path, categorical=["c"])
