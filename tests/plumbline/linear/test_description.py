"""A table's columns as the pass saw them, against pandas."""

from pathlib import Path

import pandas as pd
import pytest

from plumbline.config.schema import TableData
from plumbline.library import read
from plumbline.linear.description import Column, describe
from tests.plumbline.tools import write

ROWS = {
    "id": [f"u{i}" for i in range(12)],
    "x": [1.0, 2, 4, None, 8, 9, 11, 12, 15, 16, None, 18],
    "k": [3] * 12,
    "g": ["a", "b", "a", None, "a", "c"] * 2,
    "w": [1.0] * 12,
    "secret": [*range(12)],
    "price": ["$3", "$4", "$5"] * 4,
}


def described(path: Path, **keys: object) -> dict[str, Column]:
    given = {"weight": "w", "exclude": ["secret"], "missing": "impute", "target": "y", **keys}
    data = TableData(kind="table", path=str(path), **given)
    found = describe(read(data, "cpu"), data)
    assert len({column.name for column in found}) == len(found)
    return {column.name: column for column in found}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_every_column_is_described_once_with_what_becomes_of_it(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"a.{kind}", {**ROWS, "y": [1.0, 3.0] * 6})
    found = described(path)
    assert [*found] == ["x", "k", "g", "y", "w", "id", "secret", "price"]
    x, known = found["x"], pd.Series(ROWS["x"], dtype=float)
    expected = (2 / 12, known.mean(), known.std(ddof=0))
    assert (x.missing, x.mean, x.deviation) == pytest.approx(expected)
    assert x.becomes == "feature, and an indicator of missing values"
    assert (found["k"].becomes, found["k"].deviation) == ("a constant, which tells nothing", 0.0)
    g = found["g"]
    assert (g.levels, g.most_frequent, g.becomes) == (3, "a", "3 indicators")
    assert (g.share, g.missing) == pytest.approx((6 / 12, 2 / 12))
    assert {name: found[name].becomes for name in ("y", "w", "id", "secret", "price")} == {
        "y": "target",
        "w": "weight",
        "id": "left out: an identifier, 12 different values in 12 rows",
        "secret": "left out: data.exclude",
        "price": "left out: numbers written as text",
    }


def test_rows_without_a_target_are_its_missing_share(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", {"x": [*range(8)], "y": ["a", "b", None, "a"] * 2})
    y = described(path, weight=None, exclude=[])["y"]
    assert (y.becomes, y.levels, y.most_frequent) == ("target, of classes", 2, "a")
    assert (y.missing, y.share) == pytest.approx((2 / 8, 4 / 6))
