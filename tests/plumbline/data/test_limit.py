"""Only the first so many rows of a table, in the order of its files."""

from pathlib import Path

import pytest
import torch

from plumbline.data.batches import BLOCK_ROWS
from tests.plumbline.tools import opened, read, rows_of, write

ROWS = BLOCK_ROWS + 10  # a file


@pytest.fixture(params=["csv", "parquet"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Two files of numbered rows, and one that is none: it must not be opened."""
    for number in range(2):
        x = [float(number * ROWS + i) for i in range(ROWS)]
        write(tmp_path / f"{number}.{request.param}", {"x": x, "y": [2 * v for v in x]})
    (tmp_path / f"2.{request.param}").write_bytes(b"\0no table\n")
    return tmp_path


@pytest.mark.parametrize("limit", [1, BLOCK_ROWS, ROWS - 1, ROWS, ROWS + 1, 2 * ROWS])
def test_the_first_rows_are_read_and_no_further_file(folder: Path, limit: int) -> None:
    table = opened(folder, limit=limit)
    assert torch.equal(rows_of(table)[:, 0], torch.arange(limit, dtype=torch.float64))
    assert len(table.files) == 1 + (limit > ROWS)
    assert read(folder, limit=limit).rows == limit


def test_a_file_that_is_cut_off_is_not_taken_for_the_whole_one(folder: Path) -> None:
    first = next(folder.glob("0.*"))
    cut, other, whole = (opened(first, limit=n) for n in (ROWS - 1, ROWS - 2, ROWS))
    part = str(first)
    digests = {table.digest(part) for table in (cut, other, whole, opened(first))}
    assert len(digests) == 3
    assert whole.files == opened(first).files
    assert cut.digest(part) == opened(first, limit=ROWS - 1).digest(part)


def test_rows_beyond_the_limit_may_be_wrong(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", {"x": [1.0, 2.0, float("inf")], "y": [1.0, 2.0, 3.0]})
    assert read(path, limit=2).rows == 2
