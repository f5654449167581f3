"""Rows of CSV and Parquet files arrive as they stand, or are refused with their place."""

import math
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from plumbline.data.batches import BLOCK_ROWS
from tests.plumbline.tools import opened, read, refusal, rows_of, write

FORMATS = ["csv", "parquet"]
each_format = pytest.mark.parametrize("kind", FORMATS)
FAR = BLOCK_ROWS + 1_000  # beyond the first block


def numbers(n: int = FAR + 1_000) -> dict[str, list]:
    x = [0.1 * i - 7 for i in range(n)]
    return {"x": x, "z": [(-1.0) ** i / (i + 1) for i in range(n)], "y": [2 * v for v in x]}


@each_format
@pytest.mark.parametrize("n", [1, 2, BLOCK_ROWS, BLOCK_ROWS + 1, 2 * BLOCK_ROWS + 7])
def test_every_bit_of_every_row_arrives_in_order(kind, n, tmp_path):
    columns = numbers(n)
    table = opened(write(tmp_path / f"a.{kind}", columns))
    expected = torch.tensor(list(columns.values()), dtype=torch.float64).mT
    assert torch.equal(rows_of(table), expected)


def test_blocks_do_not_depend_on_row_groups(tmp_path):
    columns = numbers()
    whole = opened(write(tmp_path / "a" / "a.parquet", columns))
    small = opened(write(tmp_path / "b" / "b.parquet", columns, row_group_size=777))
    blocks = [[(b.first_row, b.span) for b in t.blocks(t.parts[0])] for t in (whole, small)]
    assert blocks[0] == blocks[1]
    assert torch.equal(rows_of(whole), rows_of(small))


def test_row_numbers_run_on_from_block_to_block(tmp_path):
    table = opened(write(tmp_path / "a.csv", numbers(2 * BLOCK_ROWS + 7)))
    next_row = 0
    for block in table.blocks(table.parts[0]):
        assert block.first_row == next_row
        next_row += block.span
    assert next_row == 2 * BLOCK_ROWS + 7


@each_format
def test_the_first_row_of_every_block_is_ones(kind, tmp_path):
    table = opened(write(tmp_path / f"a.{kind}", numbers(FAR)))
    assert all((block.rows[0] == 1).all() for block in table.blocks(table.parts[0]))


PARQUET_KINDS = {
    "integers": pa.array([1, 2, 3], pa.int32()),
    "unsigned": pa.array([1, 2, 3], pa.uint64()),
    "float32": pa.array([1, 2, 3], pa.float32()),
    "float16": pa.array([1.0, 2.0, 3.0]).cast(pa.float32()).cast(pa.float16()),
    "decimals": pa.array([Decimal("1.00"), Decimal("2.00"), Decimal("3.00")], pa.decimal128(9, 2)),
    "dictionary": pa.array([1.0, 2.0, 3.0]).dictionary_encode(),
}


@pytest.mark.parametrize("values", PARQUET_KINDS.values(), ids=PARQUET_KINDS.keys())
def test_every_parquet_kind_of_number_is_a_number(values, tmp_path):
    table = opened(write(tmp_path / "a.parquet", {"x": values, "y": [1.0, 2.0, 3.0]}))
    assert rows_of(table)[:, 0].tolist() == [1.0, 2.0, 3.0]


@each_format
def test_booleans_are_0_and_1(kind, tmp_path):
    values = [True, False, True] if kind == "parquet" else ["true", "False", "TRUE"]
    table = opened(write(tmp_path / f"a.{kind}", {"x": values, "y": [1.0, 2.0, 3.0]}))
    assert rows_of(table)[:, 0].tolist() == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("text", ["1e3", "+1000", "1E+3", " 1000", "1000.0", '"1000"', "1000 "])
def test_the_usual_spellings_of_a_number_are_read(text, tmp_path):
    (tmp_path / "a.csv").write_text(f"x,y\n{text},1\n2,2\n")
    assert rows_of(opened(tmp_path))[0].tolist() == [1000.0, 1.0]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_line_endings_and_a_byte_order_mark_do_not_matter(ending, bom, tmp_path):
    text = bom + ending.join(["x,y", "1,2", "3,4", ""])
    (tmp_path / "a.csv").write_bytes(text.encode())
    assert rows_of(opened(tmp_path)).tolist() == [[1.0, 2.0], [3.0, 4.0]]


def spoilt(kind: str, value: object, folder: Path, row: int = FAR) -> Path:
    """A file with one wrong value in column z of a row (from 1)."""
    columns = numbers()
    columns["z"][row - 1] = value
    return write(folder / f"bad.{kind}", columns)


def assert_names_place(message: str, kind: str, row: int = FAR) -> None:
    assert f"bad.{kind}: column 'z', row {row} must be a" in message


@each_format
@pytest.mark.parametrize("value", [None, math.nan])
@pytest.mark.parametrize("row", [1, BLOCK_ROWS, BLOCK_ROWS + 1, FAR])
def test_a_missing_value_is_refused_with_file_column_and_row(kind, value, row, tmp_path):
    message = refusal(spoilt(kind, value, tmp_path, row))
    assert_names_place(message, kind, row)
    assert "missing" in message
    assert "data.missing: drop" in message


@each_format
@pytest.mark.parametrize("value", [math.inf, -math.inf])
@pytest.mark.parametrize("missing", ["error", "drop"])
def test_an_infinity_is_refused_with_file_column_and_row(kind, value, missing, tmp_path):
    message = refusal(spoilt(kind, value, tmp_path), missing=missing)
    assert_names_place(message, kind)
    assert f"Got {value}" in message


@pytest.mark.parametrize(
    "value", ["", "NA", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None", '""']
)
def test_every_spelling_of_missing_is_missing(value, tmp_path):
    (tmp_path / "bad.csv").write_text(f"x,z,y\n1,2,3\n1,{value},3\n")
    assert "row 2 must be a finite number. Got a missing value" in refusal(tmp_path)


@each_format
def test_rows_with_a_missing_value_are_dropped_and_counted(kind, tmp_path):
    columns = numbers()
    for name, row in (("x", 5), ("y", 6), ("z", 6), ("x", FAR)):
        columns[name][row] = None
    found = read(write(tmp_path / f"a.{kind}", columns), missing="drop")
    assert (found.rows, found.dropped) == (FAR + 997, 3)
    kept = {k: [v for i, v in enumerate(c) if i not in (5, 6, FAR)] for k, c in columns.items()}
    expected = read(write(tmp_path / "kept" / f"a.{kind}", kept))
    assert torch.allclose(found.train.raw(), expected.train.raw(), rtol=1e-9, atol=1e-6)


@each_format
def test_a_first_block_of_nothing_but_missing_values_can_be_dropped(kind, tmp_path):
    x = [i % 10 for i in range(FAR + 1_000)]  # short, so that the head of a CSV file has a "z"
    columns, gone = {"x": x, "z": x[:], "y": x}, BLOCK_ROWS + 500
    columns["z"][:gone] = [None] * gone
    found = read(write(tmp_path / f"a.{kind}", columns), missing="drop")
    assert (found.rows, found.dropped) == (FAR + 1_000 - gone, gone)


@each_format
def test_rows_that_all_have_a_missing_value_leave_nothing_to_train_on(kind, tmp_path):
    column = pa.array([None, None], pa.float64()) if kind == "parquet" else [None, None]
    path = write(tmp_path / f"a.{kind}", {"x": column, "y": [1.0, 2.0]})
    message = refusal(path, features=["x"], missing="drop")
    assert "at least one row to train on" in message
    assert "2 dropped" in message
    path = write(tmp_path / f"b.{kind}", {"x": [1.0, 2.0], "w": [0, 0], "y": [1.0, 2.0]})
    assert "Dropped are rows without a target or a weight above 0" in refusal(path, weight="w")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_parquet_file_is_refused_by_name(share, tmp_path):
    path = write(tmp_path / "cut.parquet", numbers())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert "cut.parquet: " in refusal(path)


def test_a_damaged_parquet_page_is_refused_by_name(tmp_path):
    path = write(tmp_path / "cut.parquet", numbers())
    whole = bytearray(path.read_bytes())
    whole[1000:3000] = b"\xff" * 2000
    path.write_bytes(whole)
    assert "cut.parquet: is damaged or cut off" in refusal(path)


def test_a_parquet_file_that_is_none_is_refused_by_name(tmp_path):
    (tmp_path / "fake.parquet").write_text("x,y\n1,2\n")
    assert "fake.parquet: is not valid Parquet" in refusal(tmp_path)


@each_format
def test_huge_finite_values_are_no_infinity(kind, tmp_path):
    path = write(tmp_path / f"a.{kind}", {"x": [1e308, 1e308, 1e308], "y": [1.0, 2.0, 3.0]})
    assert rows_of(opened(path))[:, 0].tolist() == [1e308] * 3
