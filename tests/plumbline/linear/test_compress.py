"""One pass keeps what training needs, the same to the last bit wherever it runs."""

import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from blake3 import blake3

from plumbline.config.schema import Split, SyntheticData
from plumbline.data.batches import BLOCK_ROWS
from plumbline.data.sources import Synthetic
from plumbline.linear.compress import compress
from plumbline.linear.least_squares import least_squares, squared_error
from plumbline.linear.summary import Summary, combine, combine_eight
from tests.plumbline.tools import (
    Rows,
    factor_of,
    opened,
    random_rows,
    read,
    rows_of,
    same_bits,
    write,
)

SPLITS = [Split(), Split(test_fraction=0.3), Split(folds=3), Split(test_fraction=0.3, folds=3)]
each_split = pytest.mark.parametrize("split", SPLITS, ids=str)


def columns_of(rows: torch.Tensor) -> dict[str, list[float]]:
    names = [*(f"x{i}" for i in range(rows.shape[1] - 1)), "y"]
    return dict(zip(names, rows.mT.tolist(), strict=True))


def many_files(folder, files: int, rows: torch.Tensor) -> None:
    for i, part in enumerate(torch.tensor_split(rows, files)):
        write(folder / f"{i:03}.parquet", columns_of(part))


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("arithmetic", [1, 2])
@each_split
def test_the_merged_factor_is_the_same_to_the_last_bit_on_any_number_of_threads(
    workers, arithmetic, split, tmp_path
):
    many_files(tmp_path, 8, random_rows(3_000, 4, far=3.0))
    source = opened(tmp_path)
    expected = combine(compress(source, part, split) for part in source.parts)
    before = torch.get_num_threads()
    torch.set_num_threads(arithmetic)
    try:
        with ThreadPoolExecutor(workers) as pool:
            found = combine(pool.map(lambda part: compress(source, part, split), source.parts))
        assert torch.get_num_threads() == arithmetic
    finally:
        torch.set_num_threads(before)
    assert same_bits(found, expected)


def by_levels(level: list[Summary]) -> Summary:
    """The tree of merges, a whole level at a time."""
    while True:
        level = [combine_eight(level[i : i + 8]) for i in range(0, len(level), 8)]
        if len(level) == 1:
            return level[0]


@pytest.mark.parametrize("count", [1, 7, 8, 9, 63, 64, 65, 128, 512, 513])
def test_parts_are_joined_by_a_tree_whose_nodes_join_8_each(count, tmp_path):
    many_files(tmp_path, 3, random_rows(60, 2, far=3.0))
    source = opened(tmp_path)
    three = [compress(source, part, Split(test_fraction=0.3)) for part in source.parts]
    parts = [three[i % 3] for i in range(count)]
    assert same_bits(combine(iter(parts)), by_levels(parts))


def test_the_rows_of_each_part_stay_known_with_folds_and_without(tmp_path):
    many_files(tmp_path, 9, random_rows(200, 2))
    source, split = opened(tmp_path), Split(test_fraction=0.3, validation_fraction=0.2, folds=3)
    parts = [compress(source, part, split) for part in source.parts]
    expected = tuple((each.train.rows, each.validation.rows) for each in parts)
    assert combine(parts).part_rows == expected


def test_passes_side_by_side_leave_threads_to_those_who_come_after():
    def threads_of_a_newcomer() -> int:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(torch.get_num_threads).result()

    source = Rows({f"{i}": random_rows(2_000, 10, seed=i) for i in range(8)}, step=100)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda part: compress(source, part, Split()), source.parts))
        assert threads_of_a_newcomer() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("files", [1, 2, 63, 64, 65, 130])
def test_any_number_of_files_has_the_factor_of_all_their_rows(files):
    rows = random_rows(400, 3, far=10.0)
    source = Rows({f"{i:03}": p for i, p in enumerate(torch.tensor_split(rows, files))})
    whole = combine(compress(source, part, Split()) for part in source.parts)
    assert whole.rows == 400
    assert torch.allclose(whole.train.raw(), factor_of(rows).r, rtol=0, atol=1e-10)


@each_split
def test_the_shares_together_are_all_the_rows(split):
    rows = random_rows(300, 2)
    whole = combine([compress(Rows({"a": rows}), "a", split)])
    assert whole.train.rows + whole.test.rows == 300
    weights = torch.tensor([2.0, 3.0], dtype=torch.float64)
    expected = float((rows[:, -1] - 1 - rows[:, :-1] @ weights).square().sum())
    found = sum(squared_error(factor, 1.0, weights) for factor in whole.factors.values())
    assert found == pytest.approx(expected, rel=1e-10)
    assert squared_error(whole.train, 1.0, weights) + squared_error(
        whole.test, 1.0, weights
    ) == pytest.approx(expected, rel=1e-10)


def test_a_pass_over_a_table_has_the_factor_of_its_rows(tmp_path):
    many_files(tmp_path, 3, random_rows(50_000, 3, far=100.0))
    rows = rows_of(opened(tmp_path))
    found = least_squares(read(tmp_path).train)
    expected = least_squares(factor_of(rows - rows[0]))
    assert torch.allclose(found.weights, expected.weights, rtol=1e-11)
    assert found.rss == pytest.approx(expected.rss, rel=1e-9)


def test_a_device_without_float64_folds_on_the_cpu():
    source = Rows({"a": random_rows(40, 2)})
    assert same_bits(compress(source, "a", Split(), "mps"), compress(source, "a", Split(), "cpu"))


def test_the_digest_is_that_of_the_files_bytes(tmp_path):
    many_files(tmp_path, 2, random_rows(20, 1))
    digests = [blake3((tmp_path / f"00{i}.parquet").read_bytes()).hexdigest() for i in (0, 1)]
    assert read(tmp_path / "000.parquet").digest == digests[0]
    assert read(tmp_path).digest == blake3("".join(digests).encode()).hexdigest()


def test_the_digest_of_generated_rows_follows_the_rows():
    def digest(**keys: object) -> str:
        data = SyntheticData(kind="synthetic", rows=100, **keys)
        return compress(Synthetic(data), "synthetic", data).digest

    assert digest(noise=0.5) == digest(noise=0.5)
    assert len({digest(), digest(noise=0.5), digest(seed=1), digest(bias=1.0)}) == 4


def change_while_reading(path, change) -> None:
    """Start a pass, and change the file as soon as its first rows are there."""
    source = opened(path)
    compress(source, source.parts[0], Split(), on_rows=lambda rows: change(path))


def append(path) -> None:
    with path.open("a") as stream:
        stream.write("1,2\n")


CHANGES = {
    "longer": append,
    "another time": lambda path: os.utime(path, ns=(1, 1)),
    "gone": lambda path: path.unlink(missing_ok=True),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_file_that_changes_while_it_is_read_is_an_error_that_may_pass(change, tmp_path):
    path = write(tmp_path / "a.csv", {"x": [1.0, 2.0], "y": [2.0, 4.0]})
    with pytest.raises(OSError, match=r"a\.csv changed while it was read"):
        change_while_reading(path, change)


def test_a_file_that_changed_since_it_was_listed_is_an_error_that_may_pass(tmp_path):
    path = write(tmp_path / "a.csv", {"x": [1.0, 2.0], "y": [2.0, 4.0]})
    source = opened(path)
    append(path)
    with pytest.raises(OSError, match="changed"):
        compress(source, source.parts[0], Split())


def test_rows_are_told_block_by_block_dropped_ones_included(tmp_path):
    rows = BLOCK_ROWS + 1_000
    columns = columns_of(random_rows(rows, 1))
    columns["x0"][3] = None
    source = opened(write(tmp_path / "a.csv", columns), missing="drop")
    told: list[int] = []
    found = compress(source, source.parts[0], Split(), on_rows=told.append)
    assert (sum(told), found.rows, found.dropped) == (rows, rows - 1, 1)
    assert len(told) > 1


def test_what_is_told_can_end_the_pass():
    def stop(rows: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        compress(Rows({"a": random_rows(40, 2)}), "a", Split(), on_rows=stop)
    assert torch.get_num_threads() >= 1


@each_split
@pytest.mark.parametrize("count", [0, 60])
def test_bytes_bring_back_every_bit(split, count):
    found = compress(Rows({"a": random_rows(count, 2)}), "a", split).weighted(0.3)
    again = Summary.from_bytes(found.to_bytes())
    assert same_bits(again, found)
    for name, factor in found.factors.items():
        assert torch.equal(again.factors[name].shift, factor.shift)
        assert again.factors[name].rows == factor.rows
        assert again.factors[name].mean_weight == factor.mean_weight
    assert torch.equal(again.sample.keys, found.sample.keys)


def test_damaged_bytes_are_refused_and_never_unpickled():
    whole = compress(Rows({"a": random_rows(60, 2)}), "a", Split()).to_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    for damaged in (b"", whole[:200], whole[:-30], flipped, pickle.dumps(60), b'{"result": 1}'):
        with pytest.raises(ValueError, match="not a summary"):
            Summary.from_bytes(damaged)


def test_selected_columns_are_those_of_factor_and_sample():
    found = combine([compress(Rows({"a": random_rows(60, 3)}), "a", Split(test_fraction=0.5))])
    selected = found.select(("x2", "x0", "y"))
    assert selected.columns == selected.train.columns == ("x2", "x0", "y")
    assert torch.equal(selected.sample.rows, found.sample.rows[:, [2, 0, 3]])


def test_one_row_far_away_does_not_spoil_the_others():
    rows = random_rows(200, 2)
    rows[0] += 1e8  # the first row is the shift
    found = least_squares(combine([compress(Rows({"a": rows}), "a", Split())]).train)
    expected = least_squares(factor_of(rows.flip(0)))
    assert torch.allclose(found.weights, expected.weights, rtol=1e-7)
