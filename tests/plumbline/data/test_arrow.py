"""Arrow files: the same rows as Parquet give the same factors, whoever wrote them."""

import datetime as dt
import decimal

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import torch

from plumbline.data.files import find_files
from plumbline.errors import InputError
from tests.plumbline.tools import read, refusal

DAY = dt.datetime(2024, 1, 1)
COLUMNS = {
    "x": pa.array([1, 2, 4, 3] * 10, pa.int32()),
    "z": pa.array([0.5, -1.0, 2.5, 0.0] * 10),
    "price": pa.array([decimal.Decimal("1.25"), decimal.Decimal("-3.50")] * 20),
    "on": pa.array([True, False, False, True] * 10),
    "city": pa.array(["a", "b", "c", "b"] * 10).dictionary_encode(),
    "when": pa.array([DAY + dt.timedelta(hours=7 * n) for n in range(40)]),
    "y": pa.array([float(n) for n in range(40)]),
}


def stream(table: pa.Table, path: str) -> None:
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, 7)


WRITERS = {
    "feather": pyarrow.feather.write_feather,
    "zstd": lambda table, path: pyarrow.feather.write_feather(table, path, compression="zstd"),
    "pandas": lambda table, path: table.to_pandas().to_feather(path),
    "stream": stream,
}


@pytest.mark.parametrize("name", WRITERS)
def test_an_arrow_file_gives_the_factors_of_a_parquet_file(name: str, tmp_path) -> None:
    table, path = pa.table(COLUMNS), tmp_path / ("a.arrow" if name == "stream" else "a.feather")
    WRITERS[name](table, str(path))
    pq.write_table(table, tmp_path / "a.parquet")
    found, expected = read(path), read(tmp_path / "a.parquet")
    assert found.columns == expected.columns
    assert torch.equal(found.train.r, expected.train.r)
    assert found.train.rows == 40


def test_a_damaged_one_and_one_of_feathers_first_version_are_one_line(tmp_path) -> None:
    pyarrow.feather.write_feather(pa.table(COLUMNS), str(tmp_path / "a.feather"))
    content = (tmp_path / "a.feather").read_bytes()
    (tmp_path / "a.feather").write_bytes(content[: len(content) // 2])
    (tmp_path / "old.feather").write_bytes(b"FEA1" + bytes(100) + b"FEA1")
    for name in ("a.feather", "old.feather"):
        with pytest.raises(InputError, match=f"{name}: is not valid Arrow"):
            read(tmp_path / name)


def test_a_stream_that_is_cut_off_is_one_line(tmp_path) -> None:
    stream(pa.table(COLUMNS), str(tmp_path / "a.arrow"))
    content = (tmp_path / "a.arrow").read_bytes()
    (tmp_path / "a.arrow").write_bytes(content[: 2 * len(content) // 3])
    assert "a.arrow" in refusal(tmp_path / "a.arrow")


def test_formats_are_not_mixed(tmp_path) -> None:
    pyarrow.feather.write_feather(pa.table(COLUMNS), str(tmp_path / "a.feather"))
    pq.write_table(pa.table(COLUMNS), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="holds Arrow and Parquet files"):
        find_files(str(tmp_path))


def test_lists_structs_and_durations_are_left_out_by_name(tmp_path) -> None:
    odd = {"pair": pa.array([[1, 2]] * 40), "both": pa.array([{"a": 1}] * 40)}
    odd["took"] = pa.array([dt.timedelta(seconds=n) for n in range(40)])
    pyarrow.feather.write_feather(pa.table(COLUMNS | odd), str(tmp_path / "a.feather"))
    assert not {"pair", "both", "took"} & {*read(tmp_path / "a.feather").columns}
    with pytest.raises(InputError, match=r"column 'took'.*neither numbers nor text"):
        read(tmp_path / "a.feather", features=["took"])
