"""The population stability index of levels and predictions: how far shares of rows have moved.

The index of shares p then and q now is Σ (q - p) ln(q / p) (S. Lewis, An Introduction to Credit
Scoring, 1994). It is 0 if no share has moved; by convention up to 0.1 is little and from 0.25 on
much.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

GROUPS = 10


def stability_index(
    then: Mapping[str, float], now: Mapping[str, float], rows_then: float, rows_now: float
) -> float:
    """The stability index of groups that together contain all rows.

    A group that only one mapping has counts as share 0 in the other. Shares are at least that of
    half a row, because the logarithm of 0 is infinite.

    Args:
        then, now: the share of each group, in [0, 1].
        rows_then, rows_now: the numbers of rows that they are shares of, at least 1.
    """
    total = 0.0
    for group in {**then, **now}:  # in a fixed order, so that the sum is the same to the bit
        p = max(then.get(group, 0.0), 0.5 / rows_then)
        q = max(now.get(group, 0.0), 0.5 / rows_now)
        total += (q - p) * math.log(q / p)
    return total


@dataclass(frozen=True)
class PredictionShares:
    """The distribution of a model's predictions.

    Attributes:
        shares: the share of rows of each predicted class; for numbers, of each interval between
            the edges by its number from 0, the outer intervals being unbounded.
        edges: for numbers, ascending; empty for classes.
        rows: the number of predictions.
    """

    shares: dict[str, float]
    edges: Sequence[float]
    rows: int

    @classmethod
    def of(
        cls, predictions: Sequence[float] | Sequence[str], then: "PredictionShares | None" = None
    ) -> "PredictionShares":
        """Compute the distribution of at least one prediction.

        Args:
            predictions: numbers, or names of classes.
            then: earlier predictions, whose edges are used. Without them each interval has a tenth
                of the rows; equal predictions give fewer intervals.
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
        """The stability index of these predictions against earlier ones with the same edges."""
        return stability_index(then.shares, self.shares, then.rows, self.rows)
