"""Rows that are kept for what R cannot tell (mae, intervals, plots): all of few, a sample of many.

Both merge.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from plumbline.data.blocks import take_columns
from plumbline.data.files import DataFile

SAMPLE_ROWS = 1_000  # of more than these:
MOST_ROWS, MOST_NUMBERS = 100_000, 1 << 24  # this many rows, up to 128 MiB, are all kept
# How many rows a table has is known once its files are read. Until then a file keeps all of its
# rows if they are within its share, by bytes, of twice as many as are kept in the end.
SPARE_ROWS = 2 * MOST_ROWS


@dataclass(frozen=True)
class Sample:
    """The rows with the smallest of independent uniform keys: a uniform sample without replacement.

    Attributes:
        columns: names of the features, then of the target; d + 1.
        keys: (m,) float64 in [0, 1), ascending.
        rows: (m, d + 1) float64, features then target, in raw units; holes that are not filled
            yet are NaN.
        weights: (m,) float64, the rows' own; 1 without data.weight.
        complete: whether it has every row; if not, m is SAMPLE_ROWS.
    """

    columns: tuple[str, ...]
    keys: Tensor
    rows: Tensor
    weights: Tensor
    complete: bool = True

    @classmethod
    def empty(cls, columns: Sequence[str]) -> "Sample":
        """The sample of no rows."""
        none = torch.zeros(0, dtype=torch.float64)
        return cls(tuple(columns), none, none.reshape(0, len(columns)), none)

    @property
    def bound(self) -> float:
        """Keys from here on cannot enter; 1 while every row is kept."""
        return 1.0 if self.complete else float(self.keys[-1])

    def select(self, columns: Sequence[str]) -> "Sample":
        """The same rows with these columns; one not met is zeros (a level that no row had)."""
        if tuple(columns) == self.columns:
            return self
        rows = take_columns(self.rows, self.columns, columns)
        return replace(self, columns=tuple(columns), rows=rows)


def most_kept(most_rows: int, columns: Sequence[str]) -> int:
    """How many rows of these columns are all kept where `most_rows` are if they are not wide."""
    return max(SAMPLE_ROWS, min(most_rows, MOST_NUMBERS // len(columns)))


def most_of_each(files: Sequence[DataFile]) -> dict[str, int]:
    """How many rows each file keeps all of before it is known how many all have, by its URI."""
    total = max(1, sum(file.size for file in files if file.tested is not False))
    return {file.uri: min(MOST_ROWS, SPARE_ROWS * file.size // total) for file in files}


def merge_samples(
    samples: Sequence[Sample], columns: Sequence[str], most_rows: int = MOST_ROWS
) -> Sample:
    """The sample of all the rows that several samples were drawn from; complete if they are, and
    if these are not too many."""
    alike = [sample.select(columns) for sample in samples]
    keys, rows, weights = (
        torch.cat([getattr(s, name) for s in alike]) for name in ("keys", "rows", "weights")
    )
    complete = len(keys) <= most_kept(most_rows, columns) and all(
        sample.complete for sample in alike
    )
    order = keys.argsort(stable=True)[: None if complete else SAMPLE_ROWS]
    return Sample(tuple(columns), keys[order], rows[order], weights[order], complete)
