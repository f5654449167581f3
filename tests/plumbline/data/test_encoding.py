"""Categorical columns become indicators against a reference level, however they are met."""

import inspect
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from plumbline.config.schema import Split, TableData
from plumbline.data.batches import BLOCK_ROWS
from plumbline.data.encoding import Encoding, EncodingError
from plumbline.library import read as read_whole
from plumbline.linear.least_squares import least_squares
from plumbline.linear.summary import Summary
from tests.plumbline.tools import read, refusal, write
from tests.test_imports import imported

each_format = pytest.mark.parametrize("kind", ["csv", "parquet"])
MEANS = {"a": 1.0, "b": 5.0, "c": -2.0, "d": 10.0}


def rows_with(levels: list[str], slope: float = 3.0) -> dict[str, list]:
    """y = slope · x + the level's mean, exactly."""
    x = [0.1 * (i % 13) for i in range(len(levels))]
    y = [slope * v + MEANS[level] for v, level in zip(x, levels, strict=True)]
    return {"g": levels, "x": x, "y": y}


def encoded(path, categorical=("g",), **data) -> tuple[Encoding, Summary]:
    given = categorical if isinstance(categorical, dict) else list(categorical)
    whole = read(path, categorical=given, **data)
    section = TableData(kind="table", path=str(path), target="y", categorical=given)
    encoding = Encoding.of(whole.columns[:-1], section.categorical)
    return encoding, whole.select((*encoding.features, "y"))


def assert_means(data: Summary, reference: str, names: tuple[str, ...]) -> None:
    """The exact fit finds every level's mean, less the reference's."""
    fit = least_squares(data.train)
    assert fit.names == names
    assert fit.intercept == pytest.approx(MEANS[reference])
    expected = [3.0, *(MEANS[n.split("=")[1]] - MEANS[reference] for n in names[1:])]
    assert fit.weights.tolist() == pytest.approx(expected)


@each_format
def test_levels_are_found_sorted_and_the_first_is_the_reference(kind, tmp_path):
    path = write(tmp_path / f"a.{kind}", rows_with(list("cabcab") * 5))
    encoding, data = encoded(path)
    assert encoding.levels == {"g": ("a", "b", "c")}
    assert_means(data, "a", ("x", "g=b", "g=c"))


@each_format
@pytest.mark.parametrize("first", [10, BLOCK_ROWS, BLOCK_ROWS + 2, BLOCK_ROWS + 4_000])
def test_a_level_that_first_appears_late_in_a_file_counts_as_any_other(kind, first, tmp_path):
    levels = ["b", "c"] * (first // 2) + ["a", "d"] * 50
    _, data = encoded(write(tmp_path / f"a.{kind}", rows_with(levels)))
    assert_means(data, "a", ("x", "g=b", "g=c", "g=d"))
    assert data.rows == len(levels)


@each_format
def test_a_level_that_only_one_file_has_is_zero_in_the_others(kind, tmp_path):
    for name, levels in (("1", "bc"), ("2", "ab"), ("3", "dc")):
        write(tmp_path / f"{name}.{kind}", rows_with(list(levels) * 10))
    _, data = encoded(tmp_path)
    assert_means(data, "a", ("x", "g=b", "g=c", "g=d"))


@each_format
def test_the_order_of_files_does_not_change_the_encoding(kind, tmp_path):
    for folder, names in (("one", "12"), ("two", "21")):
        for name, levels in zip(names, ("cb", "ad"), strict=True):
            write(tmp_path / folder / f"{name}.{kind}", rows_with(list(levels) * 10))
    found = [encoded(tmp_path / folder) for folder in ("one", "two")]
    assert found[0][0] == found[1][0]
    fits = [least_squares(data.train).weights for _, data in found]
    assert torch.allclose(fits[0], fits[1], rtol=1e-10)


@each_format
def test_given_levels_keep_their_order_and_their_reference(kind, tmp_path):
    path = write(tmp_path / f"a.{kind}", rows_with(list("cab") * 10))
    _, data = encoded(path, {"g": ["c", "b", "a"]})
    assert_means(data, "c", ("x", "g=b", "g=a"))


@each_format
def test_a_given_level_that_no_row_has_gets_no_weight(kind, tmp_path):
    path = write(tmp_path / f"a.{kind}", rows_with(list("ab") * 10))
    _, data = encoded(path, {"g": ["a", "b", "d"]})
    fit = least_squares(data.train)
    assert fit.names == ("x", "g=b", "g=d")
    assert fit.weights.tolist() == pytest.approx([3.0, 4.0, 0.0])
    assert tuple(fit.equals) == ("g=d",)


@each_format
@pytest.mark.parametrize("row", [1, 3, 20_001])
def test_an_unknown_level_is_refused_with_file_column_and_row(kind, row, tmp_path):
    levels = ["a", "b"] * 12_000
    levels[row - 1] = "d"
    path = write(tmp_path / f"bad.{kind}", rows_with(levels))
    message = refusal(path, categorical={"g": ["a", "b"]})
    assert f"bad.{kind}: column 'g'" in message
    assert "a, b" in message
    assert "Got 'd'" in message
    assert f"row {row}" in message


@each_format
@pytest.mark.parametrize("row", [1, 3, 20_001])
def test_a_missing_level_is_refused_or_its_row_dropped(kind, row, tmp_path):
    columns = rows_with(["a", "b"] * 12_000)
    columns["g"][row - 1] = None
    path = write(tmp_path / f"bad.{kind}", columns)
    message = refusal(path, categorical=["g"])
    assert f"row {row} must be a" in message
    assert "column 'g" in message
    found = read(path, categorical=["g"], missing="drop")
    assert (found.rows, found.dropped) == (23_999, 1)


@each_format
@pytest.mark.parametrize("given", [["g"], {"g": ["a", "b"]}])
def test_a_file_whose_levels_are_all_missing_is_refused_or_dropped(kind, given, tmp_path):
    absent = pa.nulls(10, pa.string()) if kind == "parquet" else [None] * 10
    write(tmp_path / f"1.{kind}", rows_with(["a", "b"] * 5))
    write(tmp_path / f"2.{kind}", {**rows_with(["a", "b"] * 5), "g": absent})
    message = refusal(tmp_path, categorical=given)
    assert f"2.{kind}" in message
    assert "missing" in message
    found = read(tmp_path, categorical=given, missing="drop")
    assert (found.rows, found.dropped) == (10, 10)


@each_format
def test_levels_that_are_all_missing_at_first_are_missing(kind, tmp_path):
    columns = rows_with(["a", "b"] * 200_000)
    columns["g"][:390_000] = [None] * 390_000
    path = write(tmp_path / f"a.{kind}", columns)
    found = read(path, categorical=["g"], missing="drop")
    assert (found.rows, found.dropped) == (10_000, 390_000)


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        (pa.array([10, 2, 10, 2]), ("10", "2")),
        (pa.array([True, False, True, False]), ("false", "true")),
        (pa.array(["u", "v", "u", "v"]).dictionary_encode(), ("u", "v")),
        (pa.array(["u", "v", "u", "v"], pa.large_string()), ("u", "v")),
    ],
    ids=["integers", "booleans", "dictionary", "large text"],
)
def test_numbers_booleans_and_dictionaries_can_be_levels(values, levels, tmp_path):
    path = write(tmp_path / "a.parquet", {"g": values, "y": [1.0, 2.0, 1.0, 2.0]})
    encoding, _ = encoded(path)
    assert encoding.levels == {"g": levels}


def test_csv_levels_need_not_all_look_alike(tmp_path):
    write(tmp_path / "1.csv", {"g": ["1000", "2000"] * 3, "y": [1, 2] * 3})
    write(tmp_path / "2.csv", {"g": ["10A", "1000"] * 3, "y": [3, 1] * 3})
    encoding, data = encoded(tmp_path)
    assert encoding.levels == {"g": ("1000", "10A", "2000")}
    assert data.rows == 12


def test_more_classes_than_a_target_may_have_are_refused(tmp_path):
    names = [f"id{i}" for i in range(1_200)]
    message = refusal(write(tmp_path / "a.csv", {"x": [*range(1_200)], "y": names}))
    assert "data.target: column 'y' must have at most 1000 classes" in message
    assert "a.csv" in message


def test_held_out_rows_may_hold_levels_that_training_rows_do_not(tmp_path):
    path = write(tmp_path / "a.csv", rows_with(["a", "b"] * 20 + ["d"]))
    whole = read(path, Split(test_fraction=0.5), categorical=["g"])
    names = {"x", "g=a", "g=b", "g=d", "y"}
    assert all(set(f.columns) == names for f in (whole.train, whole.test, whole.sample))


def test_the_rules_run_without_this_project():
    """The file is copied into every stored model."""
    path = Path(inspect.getfile(Encoding))
    names = {name.split(".")[0] for name in imported(path)}
    standard = {"collections", "dataclasses", "functools", "typing"}
    assert names <= standard | {"numpy", "pandas", "torch"}


def test_an_unknown_level_is_read_as_the_training_shares_and_a_missing_one_refused(tmp_path):
    path = write(tmp_path / "a.csv", rows_with(list("aab" * 4 + "c" * 8)))
    section = TableData(kind="table", path=str(path), target="y", unknown="other")
    known = read_whole(section, "cpu")
    encoding = Encoding.from_dict(json.loads(json.dumps(asdict(known.encoding))))
    rows = pd.DataFrame({"g": ["zebra", "a", "c"], "x": [0.0, 0.0, 0.0]})
    fit = least_squares(known.summary.train)
    predicted = encoding.encode(rows) @ fit.weights.numpy() + fit.intercept
    mean = 0.4 * MEANS["a"] + 0.2 * MEANS["b"] + 0.4 * MEANS["c"]
    assert predicted.tolist() == pytest.approx([mean, MEANS["a"], MEANS["c"]])
    with pytest.raises(EncodingError, match="Got a missing value"):
        encoding.encode(pd.DataFrame({"g": [None], "x": [0.0]}))
    with pytest.raises(EncodingError, match="'g' must be one of a, b, c"):
        replace(encoding, shares={}).encode(rows)


@pytest.mark.parametrize(
    ("levels", "values"),
    [
        (("0.0", "1.0"), [1.0, "1", "1.0", 1]),  # a hole in training, none in prediction
        (("0", "1"), [1.0, "1", "1.0", 1]),
        (("False", "True"), [True, "True", "true", np.True_]),  # CSV
        (("false", "true"), [True, "True", "true", np.True_]),  # Parquet
        (("b", "a"), [" a", "a "]),  # as CSV may write them, and pandas reads them
        (("1", "1.0"), ["1.0"]),  # two levels, if training had both
    ],
)
def test_a_level_is_known_however_it_is_spelt(levels, values):
    encoding = Encoding((), {"g": levels})
    for kind in (object, "str") if all(isinstance(each, str) for each in values) else (object,):
        assert encoding.encode(pd.DataFrame({"g": pd.Series(values, dtype=kind)})).min() == 1


def test_other_text_has_one_spelling():
    encoding = Encoding((), {"g": ("v2", "u")})
    with pytest.raises(EncodingError, match=r"Got 'v2\.0'"):
        encoding.encode(pd.DataFrame({"g": ["v2.0"]}))
