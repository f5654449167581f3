"""Drift from R factors against the same numbers from the rows."""

import json
import math

import numpy as np
import pytest
import torch

from plumbline.config.running import Drift
from plumbline.config.schema import Split, TableData
from plumbline.data.encoding import Encoding
from plumbline.linear.dataset import Dataset
from plumbline.linear.summary import Summary
from plumbline.registry.drift import DataProfile, compare, exceeded_limits
from plumbline.registry.stability import stability_index
from tests.plumbline.tools import compressed, opened, random_rows, read, write


def profile(rows: torch.Tensor, split: Split | None = None, dropped: int = 0) -> DataProfile:
    data = compressed(rows, split)
    data = Summary(data.factors, data.samples, data.digests, dropped)
    return DataProfile.of(Dataset(data, data, Encoding(data.columns[:-1], {}), None, {}))


def table(path, columns: dict) -> DataProfile:
    """The profile of a table with the categorical column `city`."""
    data = read(write(path, columns), categorical=["city"])
    given = TableData(kind="table", path=str(path), target="y", categorical=["city"])
    encoding = Encoding.of(data.columns[:-1], given.categorical)
    data = data.select((*encoding.features, "y"))
    return DataProfile.of(Dataset(data, data, encoding, None, {}))


@pytest.mark.parametrize("far", [0.0, 1e6])
@pytest.mark.parametrize("split", [None, Split(test_fraction=0.3), Split(folds=4)])
def test_means_spreads_and_correlations_are_the_rows_own(far, split):
    then, now = random_rows(400, 2, seed=1, far=far), random_rows(300, 2, seed=2, far=far)
    now[:, 0] = 2 * now[:, 0] - far + 0.7
    now[:, 1] += 0.5 * (now[:, 0] - far)
    report = compare(profile(then, split), profile(now, split))
    spread = then.std(dim=0, correction=0)
    for i, column in enumerate(report.columns):
        assert column.mean_now == pytest.approx(float(now[:, i].mean()), rel=1e-9)
        shift = (now[:, i].mean() - then[:, i].mean()) / spread[i]
        assert column.shift == pytest.approx(float(shift), rel=1e-6)
        ratio = now[:, i].std(correction=0) / spread[i]
        assert column.spread_ratio == pytest.approx(float(ratio), rel=1e-6)
    change = np.abs(np.corrcoef(then.T.numpy()) - np.corrcoef(now.T.numpy())).max()
    assert report.correlation_change == pytest.approx(change, abs=1e-7)
    assert (report.rows_then, report.rows_now) == (400, 300)


def test_data_against_itself_has_not_moved():
    rows = random_rows(100, 3)
    report = compare(profile(rows), profile(rows))
    assert [c.shift for c in report.columns] == [0.0] * 4
    assert report.correlation_change == pytest.approx(0, abs=1e-15)
    assert exceeded_limits(report, Drift()) == []


def test_a_limit_holds_at_its_edge_and_the_worst_column_is_named_first():
    then = random_rows(1_000, 2)
    spread = then.std(dim=0, correction=0)
    now = then + torch.tensor([0.4, -0.9, 0.0]).double() * spread
    report = compare(profile(then), profile(now))
    assert report.furthest.name == "x1"
    assert len(exceeded_limits(report, Drift(max_shift=0.95))) == 0
    found = exceeded_limits(report, Drift(max_shift=0.39))
    assert ["'x1'" in found[0], "'x0'" in found[1], len(found)] == [True, True, 2]
    assert "0.9 standard deviations (drift.max_shift: 0.39)" in found[0]


def test_a_column_that_became_constant_or_was_is_told():
    then = random_rows(200, 2)
    stuck = then.clone()
    stuck[:, 0] = then[:, 0].mean()
    report = compare(profile(then), profile(stuck))
    assert report.in_state("constant") == ["x0"]
    assert exceeded_limits(report, Drift()) == ["column 'x0' has become constant"]
    back = compare(profile(stuck), profile(then + 1))
    assert back.columns[0].shift == math.inf
    assert "inf standard deviations" in exceeded_limits(back, Drift())[0]
    assert all(map(math.isfinite, [back.correlation_change]))


def test_columns_that_vanished_or_are_new_are_told(tmp_path):
    x = [1.0, 2.0, 4.0]
    city = ["a", "b", "a"]
    then = table(tmp_path / "a.csv", {"x": x, "gone": x[::-1], "city": city, "y": x})
    now = table(tmp_path / "b.csv", {"x": x, "fresh": x[::-1], "city": city, "y": x})
    report = compare(then, now)
    assert (report.in_state("vanished"), report.in_state("new")) == (["gone"], ["fresh"])
    assert exceeded_limits(report, Drift()) == ["column 'gone' has vanished"]
    assert report.metrics()["drift_columns_vanished"] == 1.0


@pytest.mark.parametrize("today", ["abab", "bbbb", "cabb", "bccb"])
def test_levels_are_compared_by_their_shares_whatever_the_reference(tmp_path, today):
    x = [1.0, 2.0, 4.0, 3.0]
    then = table(tmp_path / "a.csv", {"x": x, "city": list("aabc"), "y": x})
    now = table(tmp_path / "b.csv", {"x": x, "city": list(today), "y": x})
    report = compare(then, now)
    means = {c.name: (c.mean_then, c.mean_now) for c in report.columns if "=" in c.name}
    for level in "abc":
        before, after = means[f"city={level}"]
        assert before == pytest.approx("aabc".count(level) / 4, abs=1e-12)
        assert after == pytest.approx(today.count(level) / 4, abs=1e-12)
    assert report.in_state("vanished") == report.in_state("constant") == []
    shares = [{level: text.count(level) / 4 for level in text} for text in ("aabc", today)]
    assert report.stability == {"city": pytest.approx(stability_index(*shares, 4, 4), abs=1e-12)}
    assert report.metrics()["drift_stability_index/city"] == report.stability["city"]


def test_a_given_level_that_no_row_has_does_not_move(tmp_path):
    """What is left of 1 - b - c is rounding, whose correlations change at random."""
    profiles = []
    for rows in (5_000, 4_000):
        random = np.random.default_rng(rows)
        columns = {"city": random.choice(["b", "c", "d"], rows), "y": random.normal(size=rows)}
        data = read(write(tmp_path / "a.csv", columns), categorical={"city": ["a", "b", "c", "d"]})
        encoding = Encoding.of(data.columns[:-1], {"city": ["a", "b", "c", "d"]})
        profiles.append(DataProfile.of(Dataset(data, data, encoding, None, {})))
    report = compare(*profiles)
    (unmet,) = [column for column in report.columns if column.name == "city=a"]
    assert (unmet.mean_then, unmet.mean_now, unmet.shift, unmet.spread_ratio) == (0, 0, 0, 1)
    assert report.correlation_change < 0.05


def test_holes_are_compared_by_their_share_also_if_there_were_none(tmp_path):
    found, x = [], [1.0, 2.0, 4.0, 3.0]
    for name, z in (("a", [5.0, 6.0, 7.0, 9.0]), ("b", [None, 6.0, 7.0, None])):
        path = write(tmp_path / f"{name}.csv", {"x": x, "z": z, "y": x})
        given = TableData(kind="table", path=str(path), target="y", missing="impute")
        read_so = read(path, missing="impute")
        source = opened(path, missing="impute")
        found.append(DataProfile.of(Dataset.of(read_so, given, source, {})))
    expected = stability_index({"z": 0.0, "": 1.0}, {"z": 0.5, "": 0.5}, 4, 4)
    for report in (compare(*found), compare(*found[::-1])):
        assert report.stability == {"z": pytest.approx(expected, rel=1e-9)}


def test_a_target_is_not_held_against_its_logarithm(tmp_path):
    rows = {"x": [1.0, 2.0, 4.0, 3.0], "y": [1e3, 2e3, 1e4, 5e3]}
    path, found = write(tmp_path / "a.csv", rows), []
    for log_target in (False, True):
        given = TableData(kind="table", path=str(path), target="y", log_target=log_target)
        source = opened(path, log_target=log_target)
        data = Dataset.of(read(path, log_target=log_target), given, source, {})
        found.append(DataProfile.from_dict(DataProfile.of(data).to_dict()))
    for report in (compare(*found), compare(*found[::-1])):
        assert [column.name for column in report.columns] == ["x"]
        assert exceeded_limits(report, Drift()) == []
    assert [column.name for column in compare(found[1], found[1]).columns] == ["x", "y"]


def test_classes_are_compared_by_their_shares(tmp_path):
    """y is "no" in the first row here, "yes" in the first row there."""
    found = []
    for name, y in (("a", ["no"] * 3 + ["yes"]), ("b", ["yes"] * 3 + ["no"])):
        path = write(tmp_path / f"{name}.csv", {"x": [1.0, 2.0, 4.0, 3.0], "y": y})
        given = TableData(kind="table", path=str(path), target="y")
        found.append(DataProfile.of(Dataset.of(read(path), given, opened(path), {})))
    report = compare(*found)
    means = {c.name: (c.mean_then, c.mean_now) for c in report.columns if "=" in c.name}
    assert means == {"y=no": pytest.approx((0.75, 0.25)), "y=yes": pytest.approx((0.25, 0.75))}
    told = exceeded_limits(report, Drift(max_shift=1.0))
    assert len(told) == 2
    assert "'y=" in told[0]


def test_dropped_rows_are_the_missing_share():
    rows = random_rows(90, 1)
    report = compare(profile(rows), profile(rows, dropped=10))
    assert report.metrics()["drift_missing_share"] == pytest.approx(0.1)
    assert report.metrics()["drift_missing_change"] == pytest.approx(0.1)


def test_a_profile_survives_json_to_the_bit():
    one = profile(random_rows(50, 2), dropped=3)
    again = DataProfile.from_dict(json.loads(json.dumps(one.to_dict())))
    assert torch.equal(one.factor.r, again.factor.r)
    assert (one.missing, one.indicators) == (again.missing, again.indicators)


def test_holes_are_a_column_whose_share_moves(tmp_path):
    def of(name: str, x: list[float | None]) -> DataProfile:
        path = write(tmp_path / name, {"x": x, "y": [1.0, 2.0, 3.0, 4.0]})
        given = TableData(kind="table", path=str(path), target="y", missing="impute")
        whole, source = read(path, missing="impute"), opened(path, missing="impute")
        return DataProfile.of(Dataset.of(whole, given, source, {}))

    holes, whole = of("1.csv", [1.0, None, 3.0, None]), of("2.csv", [2.0, 1.0, 3.0, 2.0])
    assert compare(holes, whole).metrics()["drift_columns_vanished"] == 0
    found = {column.name: column for column in compare(holes, whole).columns}
    assert (found["x"].mean_then, found["x"].mean_now) == (2.0, 2.0)
    assert (found["x=(missing)"].mean_then, found["x=(missing)"].mean_now) == (0.5, 0.0)


def test_a_target_of_classes_is_not_held_against_one_of_numbers(tmp_path):
    found = []
    for name, y in (("a", [5.0, 6.0, 7.0, 9.0]), ("b", list("noon"))):
        path = write(tmp_path / f"{name}.csv", {"x": [1.0, 2.0, 4.0, 3.0], "y": y})
        given = TableData(kind="table", path=str(path), target="y")
        found.append(DataProfile.of(Dataset.of(read(path), given, opened(path), {})))
    for report in (compare(*found), compare(*found[::-1])):
        assert [column.name for column in report.columns] == ["x"]
        assert exceeded_limits(report, Drift()) == []
    assert "y=o" in [column.name for column in compare(found[1], found[1]).columns]
