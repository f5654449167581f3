"""A row's place follows from the seed, the file's name and its number alone."""

import hashlib
import random
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from plumbline.config.loading import validated
from plumbline.config.schema import Split, TableData
from plumbline.data.split import block_hashes, row_hashes, share_rows
from plumbline.errors import InputError
from plumbline.linear.compress import compress
from plumbline.linear.summary import combine
from tests.plumbline.tools import opened, read, rows_of, write

SPLIT = Split(test_fraction=0.3, folds=3)
MASK = 2**64 - 1


def splitmix(key: int, row: int) -> float:
    """SplitMix64 in Python's own integers."""
    z = ((row + 1) * 0x9E3779B97F4A7C15 + key) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return ((z ^ (z >> 31)) >> 11) * 2.0**-53


def files(folder, names: str) -> None:
    """One file a letter; x is a number that no other row has."""
    for letter in names:
        x = [1000.0 * ord(letter) + i for i in range(200)]
        write(folder / f"{letter}.csv", {"x": x, "y": [v / 2 for v in x]})


def members(folder, order: list[str] | None = None, split: Split = SPLIT) -> dict[str, set[float]]:
    """Which rows each file holds out: those in its sample."""
    source = opened(folder)
    parts = order or list(source.parts)
    found = {part: compress(source, part, split) for part in parts}
    return {p.rsplit("/", 1)[-1]: set(c.sample.rows[:, 0].tolist()) for p, c in found.items()}


def test_the_numbers_are_those_of_splitmix64():
    key = hashlib.sha256(b"42\0a.csv\0test").digest()[:8]
    expected = [splitmix(int.from_bytes(key, "little"), row) for row in range(1000)]
    assert row_hashes(42, "a.csv", 0, 1000, "test").tolist() == expected


def test_a_block_gets_the_numbers_that_its_rows_have_in_the_whole():
    whole = row_hashes(1, "a.csv", 0, 10_000, "test")
    assert torch.equal(row_hashes(1, "a.csv", 4_321, 1_234, "test"), whole[4_321:5_555])


def test_the_numbers_are_uniform():
    numbers = row_hashes(7, "a.csv", 0, 100_000, "test")
    assert ((numbers >= 0) & (numbers < 1)).all()
    counts = torch.histc(numbers, bins=50, min=0, max=1)
    chi_squared = float(((counts - 2000) ** 2 / 2000).sum())
    assert chi_squared < 49 + 5 * (2 * 49) ** 0.5


@pytest.mark.parametrize("other", [(8, "a", "test"), (7, "b", "test"), (7, "a", "fold")])
def test_another_seed_name_or_use_gives_independent_numbers(other):
    seed, name, use = other
    one, two = (row_hashes(s, n, 0, 20_000, u) for s, n, u in ((7, "a", "test"), (seed, name, use)))
    correlation = torch.corrcoef(torch.stack([one, two]))[0, 1]
    assert abs(float(correlation)) < 5 / 20_000**0.5


def test_the_same_rows_are_held_out_whatever_the_order_of_reading(tmp_path):
    files(tmp_path, "abcd")
    order = list(opened(tmp_path).parts)
    random.Random(0).shuffle(order)
    assert members(tmp_path, order) == members(tmp_path)


def test_adding_a_file_moves_no_row(tmp_path):
    files(tmp_path, "bd")
    before = members(tmp_path)
    files(tmp_path, "ace")
    after = members(tmp_path)
    assert {name: after[name] for name in before} == before
    assert len(after) == 5


def test_moving_the_folder_moves_no_row(tmp_path):
    files(tmp_path / "one", "ab")
    files(tmp_path / "two", "ab")
    assert members(tmp_path / "one") == members(tmp_path / "two")


def test_files_of_one_name_in_different_folders_hold_out_different_rows(tmp_path):
    for folder in ("2023", "2024"):
        files(tmp_path / folder, "a")
    source = opened(tmp_path)
    one, two = (compress(source, part, SPLIT).sample.rows[:, 0] for part in source.parts)
    assert len(set(one.tolist()) & set(two.tolist())) < 0.5 * len(one)  # 0.3 of them by chance


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_the_share_held_out_is_the_one_asked_for(fraction, tmp_path):
    x = [float(i) for i in range(20_000)]
    path = write(tmp_path / "a.parquet", {"x": x, "y": x})
    found = read(path, Split(test_fraction=fraction)).test.rows / 20_000
    assert abs(found - fraction) < 5 * (fraction * (1 - fraction) / 20_000) ** 0.5


def test_a_larger_share_only_adds_rows_to_the_smaller_one(tmp_path):
    files(tmp_path, "a")
    shares = [members(tmp_path, split=Split(test_fraction=f))["a.csv"] for f in (0.1, 0.3, 0.6)]
    assert all(small < large for small, large in pairwise(shares))


def test_every_row_is_in_exactly_one_share(tmp_path):
    files(tmp_path, "abc")
    whole = read(tmp_path, SPLIT)
    assert sorted(whole.factors) == ["fold 00", "fold 01", "fold 02", "test"]
    assert whole.rows == 600
    assert whole.train.rows + whole.test.rows == 600


def test_dropped_rows_move_no_other_row(tmp_path):
    files(tmp_path, "a")
    before = members(tmp_path)["a.csv"]
    lines = (tmp_path / "a.csv").read_text().splitlines()
    lines[10:20] = [line.split(",")[0] + "," for line in lines[10:20]]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    source = opened(tmp_path, missing="drop")
    (part,) = source.parts
    found = combine([compress(source, part, SPLIT)])
    gone = {float(line.split(",")[0]) for line in lines[10:20]}
    assert set(found.sample.rows[:, 0].tolist()) == before - gone


def test_holding_out_every_row_is_refused(tmp_path):
    path = write(tmp_path / "a.csv", {"x": [1.0], "y": [2.0]})
    seed = next(s for s in range(50) if row_hashes(s, "a.csv", 0, 1, "test") < 0.9)
    with pytest.raises(InputError, match=r"at least one row to train on.*1 held out"):
        read(path, Split(test_fraction=0.9, seed=seed))


def shares_by_group(folder: Path) -> dict[str, set[float]]:
    """The groups that each share and fold of the rows has."""
    split = Split(test_fraction=0.3, validation_fraction=0.2, folds=3)
    how = {"split": {"by": "group", "column": "g"}, "features": ["g", "x"], "missing": "drop"}
    source, found = opened(folder, **how), {}
    for name in ("train", "validation", "test"):
        rows = torch.cat([*share_rows(source, split, (name,), ("g",))])
        found[name] = set(rows[:, 0].tolist())
    for part in source.parts:
        for block in source.blocks(part):
            fold_of = (block_hashes(split.seed, block, "fold") * 3).floor().tolist()
            for fold, group in zip(fold_of, block.rows[1].tolist(), strict=True):
                found.setdefault(f"fold {fold:.0f}", set()).add(group)
    return found


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_no_group_is_in_two_shares_or_folds_whichever_files_it_is_in(tmp_path, kind):
    for number in range(2):
        g = [(7 * i + number) % 90 for i in range(400)]
        y = [None if i % 11 == 3 else float(i) for i in range(400)]
        write(tmp_path / f"{number}.{kind}", {"g": g, "x": [i / 3 for i in range(400)], "y": y})
    before = shares_by_group(tmp_path)
    for names in (("train", "validation", "test"), ("fold 0", "fold 1", "fold 2")):
        assert sum(len(before[name]) for name in names) == 90
        assert set.union(*(before[name] for name in names)) == {*map(float, range(90))}
    assert 15 < len(before["test"]) < 40
    write(tmp_path / f"2.{kind}", {"g": [3, 200], "x": [0.0, 1.0], "y": [0.0, 1.0]})
    after = shares_by_group(tmp_path)
    assert all(groups <= after[name] for name, groups in before.items())


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_group_is_one_whether_it_is_written_7_or_7_0(tmp_path, kind):
    whole = [*range(60)]
    for number, g in enumerate((whole, [*map(float, whole)])):
        write(tmp_path / f"{number}.{kind}", {"g": g, "x": whole, "y": whole})
    source = opened(tmp_path, split={"by": "group", "column": "g"})
    split = Split(test_fraction=0.5)
    train, test = (
        {x for rows in share_rows(source, split, (share,), ("x",)) for (x,) in rows.tolist()}
        for share in ("train", "test")
    )
    assert train | test == {*whole}
    assert not train & test


def test_a_group_is_no_feature_unless_it_is_named(tmp_path):
    rows = {"id": [f"c{i % 9}" for i in range(60)], "x": [*range(60)], "y": [*range(60)]}
    path = write(tmp_path / "a.csv", rows)
    how = {"split": {"by": "group", "column": "id"}}
    assert opened(path, **how).columns.features == ("x",)
    assert opened(path, **how, categorical=["id"]).columns.features == ("x", "id")
    with pytest.raises(InputError, match=r"data\.split\.column must be a column .* mean 'id'"):
        opened(path, split={"by": "group", "column": "idd"})
    with pytest.raises(ValueError, match=r"given with data\.split\.by group"):
        opened(path, split={"by": "group"})


def shares_by_time(folder: Path, fraction: float = 0.25, **split: object) -> dict[str, set[float]]:
    """The values of x in each share, and in folds 1 and 2."""
    source = opened(folder, test_fraction=fraction, split={"by": "time", **split}, missing="drop")
    by = Split(test_fraction=fraction or "cut", validation_fraction=0.2, folds=2)
    found = {}
    for name in ("train", "validation", "test"):
        rows = [*share_rows(source, by, (name,), ("x",))]
        found[name] = {*torch.cat(rows)[:, 0].tolist()} if rows else set()
    whole = combine(compress(source, part, by) for part in source.parts)
    counts = (whole.train.rows, whole.validation.rows, whole.test.rows)
    assert counts == tuple(len(found[name]) for name in ("train", "validation", "test"))
    assert {*whole.sample.select(("x",)).rows[:, 0].tolist()} == found["test"]
    return found


DAYS = [date(2024, 1, 1) + timedelta(days=7 * i % 90) for i in range(90)]
ZONED = pa.timestamp("us", "Europe/Berlin")


@pytest.mark.parametrize(
    ("name", "when", "cut"),
    [
        ("a.csv", [f"{day}T12:00:00+01:00" for day in DAYS], "2024-03-01"),
        ("a.csv", [str(day) for day in DAYS], "2024-03-01T00:00:00+00:00"),
        ("a.csv", [day.month + day.day / 100 for day in DAYS], 3.005),
        ("a.parquet", pa.array(DAYS), "2024-03-01"),
        (
            "a.parquet",
            pa.array([datetime(*d.timetuple()[:3], 12) for d in DAYS], ZONED),
            "2024-03-01",
        ),
    ],
)
def test_rows_from_the_cut_on_are_the_test_rows(tmp_path, name, when, cut):
    x = [*map(float, range(90))]
    path = write(tmp_path / name, {"when": when, "x": x, "y": x})
    found = shares_by_time(path, 0.0, column="when", cut=cut)
    assert found["test"] == {x for x, day in zip(x, DAYS, strict=True) if day >= date(2024, 3, 1)}
    assert found["validation"]
    assert len(found["validation"] | found["train"]) == 60
    assert (
        "when" in opened(path, split={"by": "time", "column": "when", "cut": cut}).columns.features
    )


def refused(path: Path, **data: object) -> str:
    with pytest.raises(InputError) as caught:
        rows_of(opened(path, **data))
    return str(caught.value)


def test_a_row_without_a_time_is_on_no_side(tmp_path):
    rows = {"when": ["2024-01-01", "2024-03-01", None], "x": [1.0, 2.0, 3.0], "y": [1.0, 2.0, 3.0]}
    path = write(tmp_path / "a.csv", rows)
    how = {"split": {"by": "time", "column": "when", "cut": "2024-02-01"}, "dates": []}
    for missing in ("drop", "impute"):
        source = opened(path, **how, missing=missing)
        found = compress(source, str(path), Split(test_fraction="cut"))
        assert (found.train.rows, found.test.rows, found.dropped) == (1, 1, 1)
    assert "'when', row 3 must be a date or a number. Got a missing" in refused(path, **how)
    write(path, rows | {"when": ["2024-01-01", "2024-03-01", "spring"]})
    assert "row 3 must be a date or time in ISO 8601. Got 'spring'" in refused(path, **how)


def test_the_newest_files_are_held_out_and_a_file_that_was_trained_on_stays_so(tmp_path):
    trained, tested = set(), []
    for letter in "abcdefgh":
        files(tmp_path, letter)
        if letter == "a":
            with pytest.raises(InputError, match=r"at least two.*set data\.split\.column and cut"):
                shares_by_time(tmp_path)
            continue
        found = shares_by_time(tmp_path, column="x")
        assert not found["test"] & (found["train"] | found["validation"])
        assert min(found["test"]) > max(found["train"] | found["validation"])
        assert trained <= found["train"] | found["validation"]
        trained = found["train"] | found["validation"]
        tested.append(len(found["test"]) // 200)
    assert tested == [1, 1, 1, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"by": "time", "cut": "2024-01-01"}, r"data\.split\.column.*data\.split\.cut"),
        ({"by": "rows", "column": "x"}, r"data\.split\.column"),
        ({"by": "group", "column": "x", "cut": 3}, r"data\.split\.cut.*left out unless"),
        ({"by": "time", "column": "x", "cut": "spring"}, r"data\.split\.cut.*2026-01-01"),
        ({"by": "time", "column": "x", "cut": "2024-01-01"}, "must hold dates.*Got number"),
        ({"by": "time", "column": "g", "cut": 3}, "must hold numbers.*Got text"),
        ({"by": "time", "column": "when", "cut": 3}, r"data\.split\.column must be a column"),
    ],
)
def test_a_split_that_cannot_be_is_refused_by_name(tmp_path, keys, said):
    path = write(tmp_path / "a.csv", {"g": ["a", "b"], "x": [1.0, 2.0], "y": [1.0, 2.0]})
    with pytest.raises(ValueError, match=said):
        opened(path, split=keys)


def test_a_share_beside_a_cut_is_refused_and_without_one_it_is_resolved():
    def read(split: dict, **more: object) -> TableData:
        data = {"kind": "table", "path": "a.csv", "target": "y", "split": split, **more}
        return validated({"experiment": "e", "data": data}, "c.yaml").data

    cut = {"by": "time", "column": "when", "cut": date(2024, 3, 1)}
    found = read(cut)
    assert (found.test_fraction, found.split.cut) == ("cut", "2024-03-01")
    with pytest.raises(InputError, match=r"data\.test_fraction must be 0 or cut with data\.split"):
        read(cut, test_fraction=0.2)
    with pytest.raises(InputError, match="must be above 0 or cut with by time"):
        read({"by": "time"})
    with pytest.raises(InputError, match="must be a number without data"):
        read({"by": "rows"}, test_fraction="cut")
