"""The sample is uniform, bounded and the same in any order."""

import itertools

import pytest
import torch

from plumbline.config.schema import Split
from plumbline.linear.compress import compress
from plumbline.linear.sample import MOST_ROWS, SAMPLE_ROWS, Sample, merge_samples
from plumbline.linear.summary import Summary, combine
from tests.plumbline.tools import Rows, random_rows


def drawn(n: int, seed: int, columns: tuple[str, ...] = ("x", "y")) -> Sample:
    random = torch.Generator().manual_seed(seed)
    keys = torch.rand(n, generator=random, dtype=torch.float64).sort().values[:SAMPLE_ROWS]
    rows = torch.randn(len(keys), len(columns), generator=random, dtype=torch.float64)
    return Sample(columns, keys, rows, torch.ones_like(keys), n <= SAMPLE_ROWS)


def numbered(n: int, step: int = 1000) -> Rows:
    """Rows whose x is their number."""
    x = torch.arange(n, dtype=torch.float64)
    return Rows({"a": torch.stack([x, 2 * x], dim=1)}, step)


def test_rows_that_are_not_too_many_are_all_kept():
    sample = compress(numbered(MOST_ROWS, 30_000), "a", Split()).sample
    assert sample.complete
    assert sorted(sample.rows[:, 0].tolist()) == list(range(MOST_ROWS))


def test_wide_rows_are_all_kept_within_128_mib():
    columns = tuple(map(str, range(2_000)))
    kept = torch.rand(9_000, dtype=torch.float64)
    whole = Sample(columns[:1], kept, kept[:, None], kept)
    assert merge_samples([whole], columns[:1]).complete
    assert len(merge_samples([whole], columns).rows) == SAMPLE_ROWS


@pytest.mark.parametrize("step", [64, 7_000, 200_000])
def test_many_rows_leave_a_sample_without_replacement_in_raw_units(step):
    sample = compress(numbered(MOST_ROWS + 1, step), "a", Split()).sample
    assert len(sample.rows) == SAMPLE_ROWS
    assert not sample.complete
    assert len(set(sample.rows[:, 0].tolist())) == SAMPLE_ROWS
    assert torch.equal(sample.rows[:, 1], 2 * sample.rows[:, 0])


def test_every_row_is_as_likely_as_any_other():
    found = torch.cat([
        compress(numbered(5_000), "a", Split(seed=seed), most_rows=0).sample.rows[:, 0]
        for seed in range(20)
    ])  # fmt: skip
    counts = torch.histc(found, bins=10, min=0, max=5_000)
    assert float(((counts - 2_000) ** 2 / 2_000).sum()) < 9 + 5 * 18**0.5


def test_the_blocks_do_not_matter():
    small, large = (
        compress(numbered(7_000, s), "a", Split(), most_rows=6_000).sample for s in (64, 7_000)
    )
    assert len(small.rows) == SAMPLE_ROWS
    assert torch.equal(small.rows, large.rows)
    assert torch.equal(small.keys, large.keys)


def test_the_sample_is_of_the_held_out_rows_where_there_are_some():
    found = combine([compress(numbered(500), "a", Split(test_fraction=0.2))])
    assert len(found.sample.rows) == found.test.rows
    r = found.test.raw()
    assert torch.isclose(found.sample.rows[:, 0].mean(), r[0, 1] / r[0, 0], rtol=1e-12)


@pytest.mark.parametrize("most", [MOST_ROWS, 0])
def test_training_rows_have_a_sample_of_their_own(most):
    split = Split(test_fraction=0.5, validation_fraction=0.2)
    found = combine([compress(numbered(5_000), "a", split, most_rows=most)])
    for name, factor in (("train", found.train), ("test", found.test)):
        assert len(found.samples[name].rows) == (factor.rows if most else SAMPLE_ROWS)
    numbers = {name: {*of.rows[:, 0].tolist()} for name, of in found.samples.items()}
    assert not numbers["train"] & numbers["test"]
    assert found.part_rows[0][0] == found.train.rows
    again = Summary.from_bytes(found.to_bytes()).samples
    for name, sample in found.samples.items():
        assert torch.equal(again[name].rows, sample.rows)
        assert torch.equal(again[name].keys, sample.keys)
        assert again[name].complete == sample.complete


def test_the_sample_is_of_the_training_rows_where_none_are_held_out_for_testing():
    found = combine([compress(numbered(500), "a", Split(validation_fraction=0.2))])
    assert len(found.sample.rows) == found.train.rows < 500


@pytest.mark.parametrize(("last", "kept"), [(1_000, 1_903), (1_500, SAMPLE_ROWS)])
def test_merging_in_any_order_and_grouping_gives_the_same_sample(last, kept):
    samples = [drawn(n, seed) for seed, n in enumerate((900, 3, last, 0))]
    expected = merge_samples(samples, ("x", "y"))
    assert len(expected.keys) == kept
    for order in itertools.permutations(samples):
        paired = [merge_samples(order[:2], ("x", "y")), merge_samples(order[2:], ("x", "y"))]
        for found in (merge_samples(order, ("x", "y")), merge_samples(paired, ("x", "y"))):
            assert torch.equal(found.keys, expected.keys)
            assert torch.equal(found.rows, expected.rows)


def test_a_column_that_only_one_sample_has_is_zero_in_the_others():
    wide = ("x", "level", "y")
    merged = merge_samples([drawn(5, 1), drawn(5, 2, wide)], wide)
    narrow = merged.rows[torch.isin(merged.keys, drawn(5, 1).keys)]
    assert not narrow[:, 1].any()
    assert torch.equal(narrow[:, [0, 2]], drawn(5, 1).rows)


def test_the_sample_follows_the_rows_through_files():
    rows = random_rows(300, 2)
    parts = {f"{i}": p for i, p in enumerate(rows.split(50))}
    found = combine(compress(Rows(parts), part, Split()) for part in parts)
    order = found.sample.rows[:, 0].argsort()
    assert torch.equal(found.sample.rows[order], rows[rows[:, 0].argsort()])
