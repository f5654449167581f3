"""How far shares of rows have moved: the population stability index, of levels and of predictions.

The index of shares p then and q now is Σ (q - p) ln(q / p) (S. Lewis, An Introduction to Credit
Scoring, 1994): 0 if none has moved; by convention up to 0.1 is little, and from 0.25 on much.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

GROUPS = 10


def stability_index(
    then: Mapping[str, float], now: Mapping[str, float], rows_then: float, rows_now: float
) -> float:
    """The index of groups that make up all rows; a group that is in one mapping only counts as 0 in
    the other.

    The logarithm of 0 being infinite, a share is taken as that of half a row at least.

    Args:
        then, now: the share of each group, in [0, 1].
        rows_then, rows_now: the rows that they are shares of, one at least.
    """
    total = 0.0
    for group in {**then, **now}:  # in the same order, so that the last bits are the same
        p = max(then.get(group, 0.0), 0.5 / rows_then)
        q = max(now.get(group, 0.0), 0.5 / rows_now)
        total += (q - p) * math.log(q / p)
    return total


@dataclass(frozen=True)
class PredictionShares:
    """How a model's predictions are distributed.

    Attributes:
        shares: of the rows, by class that is predicted for them; of numbers by the place, from 0,
            among the intervals between the edges, the outer ones open.
        edges: of numbers, ascending; empty of classes.
        rows: how many predictions there were.
    """

    shares: dict[str, float]
    edges: Sequence[float]
    rows: int

    @classmethod
    def of(
        cls, predictions: Sequence[float] | Sequence[str], then: "PredictionShares | None" = None
    ) -> "PredictionShares":
        """The shares of some predictions, at least one.

        Args:
            predictions: numbers, or names of classes.
            then: earlier predictions, whose edges are taken. Without them each interval has a tenth
                of the rows; equal predictions make fewer intervals.
        """
        found = np.asarray(predictions)
        edges: Sequence[float] = []
        if found.dtype.kind == "f":
            tenths = np.arange(1, GROUPS) / GROUPS
            edges = then.edges if then else np.unique(np.quantile(found, tenths)).tolist()
            found = np.searchsorted(edges, found).astype(str)
        groups, counts = np.unique(found, return_counts=True)
        shares = zip(groups.tolist(), (counts / len(found)).tolist(), strict=True)
        return cls(dict(shares), edges, len(found))

    def index_since(self, then: "PredictionShares") -> float:
        """The stability index of these predictions beside earlier ones, whose edges they have."""
        return stability_index(then.shares, self.shares, then.rows, self.rows)
