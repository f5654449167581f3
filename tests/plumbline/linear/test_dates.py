"""Dates and times become numbers, in the pass as in prediction."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from plumbline.config.schema import TableData
from plumbline.data.encoding import PERIODS, Encoding, EncodingError
from plumbline.data.files import find_files
from plumbline.data.split import share_rows
from plumbline.linear.dataset import Dataset
from plumbline.linear.description import describe
from plumbline.training.batch_prediction import predict_files
from tests.plumbline.tools import opened, read, refusal, write

MOMENTS = pd.date_range("2023-12-30 22:00", periods=200, freq="1397min")
WRITTEN = {
    "csv": [f"{moment}" for moment in MOMENTS],
    "csv zone": [f"{m.tz_localize('UTC').tz_convert('Asia/Tokyo').isoformat()}" for m in MOMENTS],
    "csv slashes": [f"{moment:%Y/%m/%d %H:%M}" for moment in MOMENTS],
    "parquet": pa.array(MOMENTS),
    "parquet zone": pa.array(MOMENTS, pa.timestamp("ns", "Asia/Tokyo")),
    "parquet text": pa.array([f"{moment:%Y-%m-%dT%H:%M}" for moment in MOMENTS]),
}
EACH = pytest.mark.parametrize("kind", WRITTEN)


def prepared(path: Path, **data: object) -> Dataset:
    given = TableData(kind="table", path=str(path), target="y", **data)
    return Dataset.of(read(path, **data), given, opened(path, **data), {})


def table(folder: Path, kind: str, when: object) -> Path:
    x = [float(i % 7) for i in range(len(when))]
    rows = {"when": when, "x": x, "y": [v + i % 5 for i, v in enumerate(x)]}
    return write(folder / f"rows.{kind.split()[0]}", rows)


@EACH
def test_the_parts_that_vary_are_features_in_utc(kind, tmp_path):
    data = prepared(table(tmp_path, kind, WRITTEN[kind]))
    parts = ("year", "month", "day", "day_of_week", "hour", "minute")
    waves = [f"{part}_{wave}" for part in PERIODS for wave in ("sin", "cos")]
    assert data.encoding.features == ("x", *(f"when.{part}" for part in (*parts, *waves)))
    assert data.encoding.columns == ("x", "when")
    (rows,) = share_rows(data.source, data_split(data), ("train",), data.encoding.features)
    expected = [getattr(MOMENTS, part) for part in parts]
    assert rows[:, 1:7].mT.tolist() == [list(map(float, values)) for values in expected]
    angles = [2 * np.pi * getattr(MOMENTS, part) / period for part, period in PERIODS.items()]
    expected = [wave(angle) for angle in angles for wave in (np.sin, np.cos)]
    assert rows[:, 7:].mT.numpy() == pytest.approx(np.stack(expected), abs=1e-15)
    frame = pd.DataFrame({"when": MOMENTS, "x": rows[:, 0].numpy()})
    for when in (MOMENTS, [str(each) for each in MOMENTS], MOMENTS.tz_localize("UTC")):
        assert np.array_equal(data.encoding.encode(frame.assign(when=when)), rows.numpy())


def data_split(data: Dataset) -> TableData:
    return TableData(kind="table", path="rows.csv", target=data.target)


def test_days_have_no_hours_and_a_constant_part_is_none(tmp_path):
    days = pa.array([pd.Timestamp(2024, 1, 1 + i % 20).date() for i in range(60)])
    data = prepared(table(tmp_path, "parquet", days))
    parts = ("day", "day_of_week", "day_of_week_sin", "day_of_week_cos")
    assert data.encoding.dates == {"when": parts}


def test_months_are_dates_and_what_only_looks_like_them_is_not(tmp_path):
    months = [f"{1990 + i // 12}-{1 + i % 12:02}" for i in range(200)]
    found = prepared(table(tmp_path, "csv", months)).encoding.dates["when"]
    assert found == ("year", "month", "month_sin", "month_cos")
    parts = [f"{1990 + i}-{13 + i % 12}" for i in range(200)]
    assert opened(table(tmp_path, "csv", parts)).columns.dates == ()


def test_a_sine_that_follows_from_the_other_parts_is_none(tmp_path):
    """Of two months or hours; noon's and midnight's sines are not 0 to the last bit."""
    when = [f"2024-0{1 + i % 2}-0{1 + i % 5} {12 * (i % 3 // 2):02}:00" for i in range(90)]
    found = prepared(table(tmp_path, "csv", when)).encoding.dates["when"]
    assert found == ("month", "day", "day_of_week", "hour", "day_of_week_sin", "day_of_week_cos")


def test_what_is_listed_overrules(tmp_path):
    path = table(tmp_path, "csv", WRITTEN["csv"])
    assert prepared(path, dates=["when"]).encoding.dates.keys() == {"when"}
    assert prepared(path, dates=[]).encoding.features == ("x",)
    assert "data.dates: column 'x' of" in refusal(path, dates=["x"])
    assert prepared(path, features=["when"]).encoding.columns == ("when",)


@pytest.mark.parametrize("written", ["%d.%m.%Y", "%m/%d/%y %H:%M", "%b %d, %Y", "%d %B %Y"])
def test_other_formats_are_left_out_as_what_they_are(written, tmp_path):
    when = [f"{moment:{written}}" for moment in MOMENTS]
    path = table(tmp_path, "csv", when)
    why = f"dates such as '{when[0]}', not in ISO 8601"
    assert opened(path).columns.left_out == {"when": why}
    assert f"Left out: when ({why})." in refusal(path, exclude=["x"])
    few = table(tmp_path / "few", "csv", [*when[:5]] * 40)
    assert [*opened(few).columns.categorical] == ["when"]


def test_a_later_value_that_is_no_date_is_refused_with_its_place(tmp_path):
    written = [*WRITTEN["csv"] * 80, "soon"]
    message = refusal(table(tmp_path, "csv", written))
    assert f"column 'when', row {len(written)} must be a date or time in ISO 8601" in message
    few = table(tmp_path / "few", "csv", [*WRITTEN["csv"], "soon"])
    assert opened(few, categorical=["when"]).columns.dates == ()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_missing_date_is_a_hole_with_one_indicator(kind, tmp_path):
    when = [None, *WRITTEN[kind][1:]] if kind == "csv" else pa.array([None, *MOMENTS[1:]])
    path = table(tmp_path, kind, when)
    assert "column 'when', row 1 must be a date or time. Got a missing value" in refusal(path)
    data = prepared(path, missing="impute")
    assert [n for n in data.encoding.features if "=" in n] == ["when.year=(missing)"]
    frame = pd.DataFrame({"x": [1.0], "when": [None]})
    encoded = data.encoding.encode(frame)[0]
    assert encoded[5] == pytest.approx(MOMENTS[1:].hour.to_numpy().mean())
    assert encoded[-1] == 1


def test_a_date_that_is_the_same_or_missing_has_its_indicator(tmp_path):
    path = table(tmp_path, "parquet", pa.array([MOMENTS[0], None] * (len(MOMENTS) // 2)))
    data = prepared(path, missing="impute")
    assert data.encoding.features == ("x", "when.year", "when.year=(missing)")
    section = TableData(kind="table", path=str(path), target="y", missing="impute")
    assert {c.name: c.missing for c in describe(data, section)}["when"] == pytest.approx(0.5)


def test_files_are_predicted_from_the_raw_column(tmp_path):
    encoding = Encoding(("t.day", "t.hour"), {}, dates={"t": ("day", "hour")})
    for kind, when in (("csv", ["2024-02-03 04:00", "x"]), ("parquet", pa.array([MOMENTS[0]] * 2))):
        path, output = write(tmp_path / f"in.{kind}", {"t": when}), tmp_path / "out.parquet"
        done = predict_files(find_files(str(path)), encoding, lambda f: f @ [100, 1], str(output),
                     on_missing="null")  # fmt: skip
        found = pd.read_parquet(output)["prediction"].tolist()
        assert found[0] == (304 if kind == "csv" else 3022)
        assert done.empty == (kind == "csv")
    with pytest.raises(EncodingError, match="column 't' must be a date or time"):
        encoding.encode(pd.DataFrame({"t": [5.0]}))


def test_a_part_keeps_its_place_when_features_are_narrowed(tmp_path):
    path = table(tmp_path, "csv", WRITTEN["csv"])
    narrow = TableData(kind="table", path=str(path), target="y", features=["when"])
    found = prepared(path).narrowed(narrow)
    assert found.encoding.columns == ("when",)
    assert len(found.encoding.features) == 12
    assert torch.equal(found.summary.train.rounding() > 0, torch.ones(13, dtype=torch.bool))


def test_a_description_has_a_line_for_a_date(tmp_path):
    path = table(tmp_path, "csv", [None, *WRITTEN["csv"][1:]])
    section = TableData(kind="table", path=str(path), target="y", missing="impute")
    (found,) = [c for c in describe(prepared(path, missing="impute"), section) if c.kind == "date"]
    assert found.becomes.startswith("year, month, day, day_of_week, hour, minute, month_sin, ")
    assert found.missing == pytest.approx(1 / 200)
