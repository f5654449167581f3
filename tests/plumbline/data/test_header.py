"""CSV files as spreadsheets and other tools write them hold the same rows as plain ones."""

import gzip
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from tests.plumbline.tools import opened, read, refusal, rows_of

PLAIN = "x,größe,y\n1.5,-2.25,3\n1000,0.125,4\n-7,2.5,5.5\n"
ROWS = torch.tensor([[1.5, -2.25, 3], [1000, 0.125, 4], [-7, 2.5, 5.5]], dtype=torch.float64)


def as_written(delimiter: str, decimal: str = ".", encoding: str = "utf-8") -> bytes:
    text = PLAIN.replace(",", "\0").replace(".", decimal).replace("\0", delimiter)
    return text.encode(encoding)


FOUND = {
    "excel.csv": as_written(";", ","),
    "semicolon.csv": as_written(";"),
    "tab.tsv": as_written("\t"),
    "tab.csv": as_written("\t", ","),
    "pipe.csv": as_written("|"),
    "comma.tsv": as_written(","),
    "bom.csv": as_written(",", encoding="utf-8-sig"),
    "unicode text.csv": as_written("\t", ",", "utf-16"),
    "windows.csv": as_written(",").replace(b"\n", b"\r\n"),
    "blank lines.csv": as_written(";", ",").replace(b"\n", b"\n\n"),
    "spaced.csv": as_written(", "),
    "a.csv.gz": gzip.compress(as_written(",")),
    "a.TSV.GZ": gzip.compress(as_written("\t")),
    "a.csv.zst": pa.compress(as_written(";", ","), codec="zstd", asbytes=True),
    "quoted.csv": b'x,"gr\xc3\xb6\xc3\x9fe",y\n"1.5","-2.25","3"\n1000,0.125,4\n-7,2.5,5.5\n',
    "notes.csv": b'x;note;z;y\n1,5;"a\nb";-2,25;3\n1000;c;0,125;4\n-7;d;2,5;5,5\n',
}


@pytest.mark.parametrize("name", FOUND)
def test_how_a_file_is_written_is_found_in_its_head(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(FOUND[name])
    assert torch.equal(rows_of(opened(tmp_path / name)), ROWS)


def test_each_file_of_a_table_is_written_in_its_own_way(tmp_path: Path) -> None:
    names = [name for name in FOUND if name != "notes.csv"]
    for name in names:
        (tmp_path / name).write_bytes(FOUND[name])
    assert read(tmp_path).rows == 3 * len(names)


def test_an_encoding_is_given(tmp_path: Path) -> None:
    for encoding in ("cp1252", "utf-16-le"):
        (tmp_path / "a.csv").write_bytes(as_written(";", ",", encoding))
        assert torch.equal(rows_of(opened(tmp_path / "a.csv", encoding=encoding)), ROWS)


def test_what_may_be_thousands_is_no_decimal_comma_unless_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x;y\n1,500;3\n2,250;4\n")
    message = refusal(tmp_path / "a.csv", target="x")
    assert "'1,500' in row 1 (if that is a decimal comma, set data.decimal: ',')" in message
    assert rows_of(opened(tmp_path / "a.csv", decimal=",")).tolist() == [[1.5, 3], [2.25, 4]]


def test_a_decimal_point_beside_commas_leaves_the_decimal_open(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x;z;y\n1,5;1.5;3\n2,25;2.5;4\n")
    columns = opened(tmp_path / "a.csv").columns
    assert columns.numeric == ("z",)
    assert "set data.decimal: ','" in columns.warnings[0]


@pytest.mark.parametrize("row", [1, 50_000])
def test_a_byte_that_is_no_utf8_is_refused_with_the_key_that_helps(
    row: int, tmp_path: Path
) -> None:
    lines = ["g,y", *["a,1"] * (row - 1), "ä,2", "b,3"]
    padding = "," + "9" * 40  # beyond the head
    text = "\n".join([lines[0] + ",z", *(line + padding for line in lines[1:])])
    (tmp_path / "a.csv").write_bytes(text.encode("cp1252"))
    message = refusal(tmp_path / "a.csv", categorical=["g"])
    assert "a.csv" in message
    assert "It looks like Windows-1252 (or Latin-1): set data.encoding: cp1252." in message
    assert (f"column 'g', row {row}" in message) == (row > 1)
    assert read(tmp_path / "a.csv", categorical=["g"], encoding="cp1252").rows == row + 1


def test_a_wrong_codec_is_refused_with_a_likely_one(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("größe,y\n1,2\n", encoding="utf-8")
    assert "It looks like utf-8" in refusal(tmp_path / "a.csv", encoding="ascii")


def test_bytes_that_are_no_text_are_asked_about(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(gzip.compress(b"x,y\n1,2\n"))
    assert refusal(tmp_path / "a.csv").endswith("It looks like no text at all: is it CSV?")


def test_a_decimal_comma_far_down_is_refused_with_the_key_that_helps(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x;y\n" + "1;2\n" * 2_000 + "1,5;2\n")
    message = refusal(tmp_path / "a.csv")
    assert "column 'x', row 2001 must be a number. Got '1,5' instead; set data.decimal" in message


@pytest.mark.parametrize("cut", [0, 40])
def test_a_damaged_compressed_file_is_refused_by_name(cut: int, tmp_path: Path) -> None:
    content = gzip.compress(as_written(",") * 50_000)
    (tmp_path / "a.csv.gz").write_bytes(content[: len(content) // 2] if cut else b"x,y\n1,2\n")
    assert "a.csv.gz: " in refusal(tmp_path / "a.csv.gz")


def test_one_column_asks_for_the_delimiter(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x:y\n1:2\n")
    assert "Only one column was found" in refusal(tmp_path / "a.csv")
