"""The folders of a partitioned table are columns, as pandas writes and reads them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from plumbline.config.loading import validated
from plumbline.data.files import find_files
from plumbline.errors import InputError
from plumbline.library import evaluate, predict, train
from plumbline.training.batch_prediction import predict_files
from tests.plumbline.tools import opened, refusal, write

REGIONS = ["north pole", "south", "é=ü/%"]


def table(rows: int = 600) -> pd.DataFrame:
    random = np.random.default_rng(0)
    drawn = {
        "x": random.normal(size=rows),
        "year": random.choice([2022, 2023, 2024], rows),
        "region": random.choice(REGIONS, rows),
        "day": random.choice(["2024-01-31", "2024-02-01", "2024-02-03"], rows),
        "open": random.choice([True, False], rows),
    }
    frame = pd.DataFrame(drawn)
    effect = frame["region"].map(dict(zip(REGIONS, (0, 3, -2), strict=True)))
    noise = 0.1 * random.normal(size=rows)
    return frame.assign(y=2 * frame["x"] + frame["year"] - 2000 + effect + frame["open"] + noise)


def _calling(module: nn.Module) -> Callable[[np.ndarray], np.ndarray]:
    return lambda rows: module(torch.from_numpy(rows)).detach().numpy()[:, 0]


def exact(path: Path, **data: object):
    section = {"kind": "table", "path": str(path), "target": "y", **data}
    raw = {"experiment": "e", "data": section, "training": {"optimizer": "exact"}}
    return train(validated(raw, "c.yaml"))


@pytest.mark.parametrize("by", [["year"], ["region"], ["day", "open"], ["year", "region", "open"]])
def test_a_partitioned_table_trains_what_the_same_rows_in_one_file_do(by, tmp_path):
    table().to_parquet(tmp_path / "parts", partition_cols=by)
    whole = tmp_path / "whole.parquet"
    table().to_parquet(whole)
    parted, one = exact(tmp_path / "parts"), exact(whole)
    features = [model.data.encoding.features for model in (parted, one)]
    assert sorted(features[0]) == sorted(features[1])
    assert evaluate(parted)["train_rmse"] == pytest.approx(evaluate(one)["train_rmse"], rel=1e-12)
    rows = table()[:9]
    np.testing.assert_allclose(predict(parted, rows), predict(one, rows), rtol=1e-12)


def test_what_pandas_reads_is_predicted_and_kept(tmp_path):
    table().to_parquet(tmp_path / "parts", partition_cols=["year", "region"])
    model = exact(tmp_path / "parts")
    kept = ("year", "region", "x", "y")
    output = str(tmp_path / "out.parquet")
    files = find_files(str(tmp_path / "parts"))
    predict_files(files, model.data.encoding, _calling(model.module), output, kept)
    found = pd.read_parquet(output)
    read = pd.read_parquet(tmp_path / "parts").astype({"year": int, "region": str})
    pd.testing.assert_frame_equal(found[[*kept]].astype({"year": int}), read[[*kept]])
    assert (found["prediction"] - found["y"]).abs().max() < 0.6


def test_a_missing_value_of_a_folder_is_missing(tmp_path):
    frame = table()
    frame.loc[:40, "region"] = None
    frame.to_parquet(tmp_path, partition_cols=["region"])
    assert "'region'" in refusal(tmp_path, target="y")
    assert exact(tmp_path, missing="drop").data.summary.dropped == 41


def test_a_column_of_the_files_comes_before_a_folder_of_its_name(tmp_path):
    (tmp_path / "x=7").mkdir()
    (tmp_path / "x=7" / "a.csv").write_text("x,y\n1,2\n2,4\n")
    assert opened(tmp_path).columns.numeric == ("x",)
    assert next(opened(tmp_path).blocks(f"{tmp_path}/x=7/a.csv")).rows[1].tolist() == [1.0, 2.0]


def test_files_with_and_without_a_partition_do_not_agree(tmp_path):
    for folder in ("year=2023", "."):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "b.csv").write_text("x,y\n1,2\n2,4\n")
    with pytest.raises(InputError, match="'year' is new"):
        exact(tmp_path)


def test_a_partition_is_part_of_the_digest_and_a_folder_above_the_path_is_none(tmp_path):
    for year in (2023, 2024):
        (tmp_path / f"year={year}").mkdir()
        (tmp_path / f"year={year}" / "a.csv").write_text("x,y\n1,2\n2,4\n")
    one, two = find_files(str(tmp_path))
    assert one.digest() != two.digest()
    (alone,) = find_files(str(tmp_path / "year=2023"))
    assert alone.partition == {}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("values", "features"),
    [
        (["__HIVE_DEFAULT_PARTITION__", "north", "south"], ["v=south", "v=(missing)"]),
        (["1000", "10A"], ["v=10A"]),
        (["1", "true"], ["v=true"]),
        (["2023", "NA"], ["v=NA"]),
        (["1", "2"], ["v"]),
    ],
)
def test_all_folders_say_what_a_column_holds_not_the_first_alone(
    values, features, ending, tmp_path
):
    rows = table()[["x", "y"]]
    for number, value in enumerate(values):
        write(tmp_path / f"v={value}" / f"a.{ending}", rows[number:200].to_dict("list"))
    found = exact(tmp_path, missing="impute").data.encoding.features
    assert [name for name in found if name.startswith("v")] == features


@pytest.mark.parametrize("name", ["region", "store_id"])
def test_a_folder_with_one_row_is_no_identifier(name, tmp_path):
    for value, rows in ((1, 1), (2, 99)):
        write(tmp_path / f"{name}={value}" / "a.csv", table(rows)[["x", "y"]].to_dict("list"))
    assert opened(tmp_path).columns.features == ("x", name)


def test_a_first_folder_whose_file_is_only_a_header_decides_nothing_about_the_files(tmp_path):
    write(tmp_path / "v=a" / "a.csv", {"c": [], "y": []})
    for value in ("b", "c"):
        write(tmp_path / f"v={value}" / "a.csv", {"c": ["p", "q"] * 20, "y": [*range(40)]})
    assert exact(tmp_path).data.encoding.features == ("c=q", "v=c")
