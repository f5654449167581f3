"""Keep rows for what R cannot give (mae, intervals, plots): all of them, or a sample of many.

Samples of parts can be merged.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from plumbline.data.blocks import Block, take_columns
from plumbline.data.files import DataFile

SAMPLE_ROWS = 1_000  # rows of a sample, if there are more rows than these:
MOST_ROWS, MOST_NUMBERS = 100_000, 1 << 24  # up to this many rows, and 128 MiB, all are kept
# The number of rows of a table is known only after reading it. Until then a file keeps all of its
# rows if they are within its share, by bytes, of this many.
SPARE_ROWS = 2 * MOST_ROWS


@dataclass(frozen=True)
class Sample:
    """The rows with the smallest of independent uniform keys: a uniform sample without replacement.

    Attributes:
        columns: names of the features, then of the target; d + 1.
        keys: (m,) float64 in [0, 1), ascending.
        rows: (m, d + 1) float64, features then target, in raw units; missing values that are not
            imputed yet are NaN.
        weights: (m,) float64, from data.weight; 1 without it.
        complete: whether it has every row; otherwise m is SAMPLE_ROWS.
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
        """The key below which a row can enter the sample; 1 while every row is kept."""
        return 1.0 if self.complete else float(self.keys[-1])

    def select(self, columns: Sequence[str]) -> "Sample":
        """The same rows with these columns; an unknown one is zeros (a level that no row has)."""
        if tuple(columns) == self.columns:
            return self
        rows = take_columns(self.rows, self.columns, columns)
        return replace(self, columns=tuple(columns), rows=rows)


@dataclass
class Sampler:
    """Draws a sample from the blocks of a part.

    Attributes:
        columns: of the sample, which later blocks may widen.
        most_rows: all rows are kept up to this many.
        sample: of the rows seen so far, without those in `drawn`.
        drawn: rows that are not merged yet; doing so after every block would cost as much as
            drawing.
    """

    columns: tuple[str, ...]
    most_rows: int
    sample: Sample = field(init=False)
    drawn: list[Sample] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sample = Sample.empty(self.columns)

    def add(self, block: Block, keys: Tensor, share: Tensor | None) -> None:
        """Add the rows of a block whose keys are small enough.

        Args:
            block: with its rows in raw units.
            keys: (k,) float64 on the CPU, uniform in [0, 1).
            share: (k,) bool, the rows to draw from; None: all.
        """
        chosen = (keys if share is None else keys.where(share, 1.0)) < self.sample.bound
        places = torch.from_numpy(np.flatnonzero(chosen.numpy()))
        if not len(places):
            return
        self.columns = block.columns
        room = SAMPLE_ROWS
        if self.sample.complete:
            room = max(room, most_kept(self.most_rows, self.columns) - len(self.sample.keys))
        complete = len(places) <= room
        if not complete:
            places = places[np.argpartition(keys[places].numpy(), SAMPLE_ROWS)[:SAMPLE_ROWS]]
        rows = block.rows.mT[places].cpu()
        self.drawn.append(
            Sample(self.columns, keys[places], rows[:, 1:].clone(), rows[:, 0].clone(), complete)
        )
        if not complete or sum(len(sample.keys) for sample in self.drawn) >= room:
            self.settle()  # from now on few rows have keys below its bound

    def settle(self) -> Sample:
        """Merge the rows drawn so far and return the sample."""
        self.sample = merge_samples([self.sample, *self.drawn], self.columns, self.most_rows)
        self.drawn = []
        return self.sample


def most_kept(most_rows: int, columns: Sequence[str]) -> int:
    """The most rows of which all are kept: `most_rows`, or fewer if there are many columns."""
    return max(SAMPLE_ROWS, min(most_rows, MOST_NUMBERS // len(columns)))


def most_of_each(files: Sequence[DataFile]) -> dict[str, int]:
    """The most rows of which each file keeps all until the number of all rows is known, by URI."""
    total = max(1, sum(file.size for file in files if file.tested is not False))
    return {file.uri: min(MOST_ROWS, SPARE_ROWS * file.size // total) for file in files}


def merge_samples(
    samples: Sequence[Sample], columns: Sequence[str], most_rows: int = MOST_ROWS
) -> Sample:
    """Merge samples into one of all the rows they were drawn from.

    It is complete if all of them are and the rows are not too many.
    """
    alike = [sample.select(columns) for sample in samples]
    keys, rows, weights = (
        torch.cat([getattr(s, name) for s in alike]) for name in ("keys", "rows", "weights")
    )
    complete = len(keys) <= most_kept(most_rows, columns) and all(s.complete for s in alike)
    order = keys.argsort(stable=True)[: None if complete else SAMPLE_ROWS]
    return Sample(tuple(columns), keys[order], rows[order], weights[order], complete)
