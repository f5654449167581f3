"""A bounded uniform sample of rows that merges: for what R cannot tell (mae, plots)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from plumbline.data.blocks import take_columns

SAMPLE_ROWS = 1_000


@dataclass(frozen=True)
class Sample:
    """The rows with the smallest of independent uniform keys: a uniform sample without replacement.

    Attributes:
        columns: names of the features, then of the target; d + 1.
        keys: (m,) float64 in [0, 1), ascending; m <= SAMPLE_ROWS.
        rows: (m, d + 1) float64, features then target, in raw units; holes that are not filled
            yet are NaN.
        weights: (m,) float64, the rows' own; 1 without data.weight.
    """

    columns: tuple[str, ...]
    keys: Tensor
    rows: Tensor
    weights: Tensor

    @classmethod
    def empty(cls, columns: Sequence[str]) -> "Sample":
        """The sample of no rows."""
        none = torch.zeros(0, dtype=torch.float64)
        return cls(tuple(columns), none, none.reshape(0, len(columns)), none)

    @property
    def bound(self) -> float:
        """Keys from here on cannot enter; 1 while there is room."""
        return float(self.keys[-1]) if len(self.keys) == SAMPLE_ROWS else 1.0

    def select(self, columns: Sequence[str]) -> "Sample":
        """The same rows with these columns; one not met is zeros (a level that no row had)."""
        if tuple(columns) == self.columns:
            return self
        rows = take_columns(self.rows, self.columns, columns)
        return replace(self, columns=tuple(columns), rows=rows)


def merge_samples(samples: Sequence[Sample], columns: Sequence[str]) -> Sample:
    """The sample of all the rows that several samples were drawn from."""
    alike = [sample.select(columns) for sample in samples]
    keys, rows, weights = (
        torch.cat([getattr(s, name) for s in alike]) for name in ("keys", "rows", "weights")
    )
    order = keys.argsort(stable=True)[:SAMPLE_ROWS]
    return Sample(tuple(columns), keys[order], rows[order], weights[order])
