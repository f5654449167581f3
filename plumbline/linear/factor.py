"""The R factor: d + 2 rows with the same squared loss as n rows, for every linear model.

For rows A = [1 X y] with A = QR, ‖A[b; w; -1]‖ = ‖R[b; w; -1]‖ for every intercept b and weights w.
If rows have weights, each row of A is multiplied by the square root of its weight.
R factors of parts stack and reduce to the R factor of the whole: R(A ∪ B) = qr([R(A); R(B)])
(sequential QR: Hanson and Lawson 1969, Mathematics of Computation 23; TSQR: Demmel et al. 2012).

A fixed shift (the first row met) is subtracted from the columns: otherwise data far from zero would
spend its digits on the mean. The first column is never shifted, so [1, X - c, y - c] is [1, X, y]
times an upper triangular matrix and all of the above still holds. A missing number reads as the
shift, and its column has an indicator, so another number can replace it at any time.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plumbline.data.blocks import take_columns
from plumbline.data.encoding import columns_with_missing, missing_indicator
from plumbline.threads import threads_for_columns

# S = I + YᵀY is at least I, so its trace bounds its condition number. Up to here Cholesky loses
# at most two of sixteen digits; above it Householder folds the block. Blocks of one size and one
# distribution come to about 2.
CHOLESKY_LIMIT = 10.0
# Limit of |r||r⁻¹|, which does not depend on the scale of the columns and bounds what an explicit
# inverse loses against a triangular solve. Measured: nothing up to 1e5. Above it Householder folds.
INVERSE_LIMIT = 1e4
SLICE = 512  # rows that Householder reduces at once; 8 p for more than 64 columns
HEAD = 6  # one row in HEAD of the first block is folded before the others, which then have an r
IN_CACHE = 2048  # rows whose products stay in the cache
EPS = torch.finfo(torch.float64).eps
# How much of a column's length rounding may add up to, per column of R, over all blocks and merges.
# Each update adds about 1e-16 per column, so the sum grows with the root of their number: measured
# with collinear columns 1e-14 (d = 30) and 4e-13 (d = 120) after 10,000 updates. The limit is at
# least 15 times that, however the rows are cut, and 1/500 of the least singular value of NIST's
# Filip.
ROUNDING = 1e-13
WIDTH = 8  # products are up to twice as fast if the width is a multiple of a vector register's
MERGED_AT_ONCE = 8


@dataclass(frozen=True)
class Factor:
    """The R factor of the rows [1, X - c_x, y - c_y].

    Attributes:
        columns: names of the features, then of the target; d + 1.
        r: (d + 2) x (d + 2) float64 on the CPU, upper triangular, diagonal >= 0.
        rows: n, the number of rows; if it is 0, r is 0.
        shift: c, (d + 1) float64.
        mean_weight: mean weight of the rows by the age of their files; 1 without
            data.window.half_life.
        row_weight: the mean of the rows' own weights; 1 without data.weight.
    """

    columns: tuple[str, ...]
    r: Tensor
    rows: int
    shift: Tensor
    mean_weight: float = 1.0
    row_weight: float = 1.0

    @property
    def counted(self) -> float:
        """The number of rows for degrees of freedom; rows of older files count less."""
        return self.rows * self.mean_weight

    @property
    def weight(self) -> float:
        """The sum of the rows' weights, the divisor of means; `rows` if there are no weights."""
        return self.counted * self.row_weight

    @property
    def means(self) -> Tensor:
        """The means of the columns: (d + 1,). Needs at least one row."""
        return self.r[0, 1:] / self.r[0, 0] + self.shift

    @classmethod
    def empty(cls, columns: Sequence[str]) -> "Factor":
        """The factor of no rows."""
        p = len(columns) + 1
        zero = torch.zeros(p, p, dtype=torch.float64)
        return cls(tuple(columns), zero, 0, torch.zeros(p - 1, dtype=torch.float64))

    def weighted(self, weight: float) -> "Factor":
        """The same rows with the weight of each multiplied by `weight`."""
        return replace(self, r=self.r * weight**0.5, mean_weight=self.mean_weight * weight)

    def plus(self, rows: Tensor) -> "Factor":
        """Add rows to the factor, whose own rows must all have full age weight.

        Args:
            rows: (m, d + 2), m > 0: the square roots of their weights, then the shifted features
                and target, each multiplied by that root.
        """
        count = self.rows + len(rows)
        weight = self.weight + float(rows[:, 0].square().sum())
        r = fold(self.r if self.rows else None, rows)
        return replace(self, r=r, rows=count, row_weight=weight / count)

    def merged_to(self, shift: Tensor) -> "Factor":
        """The same rows about another shift, at which their missing values read, too.

        A multiple of a column's indicator is added to the column.
        """
        r, names = self.r.clone(), self.columns[:-1]
        for name in columns_with_missing(names):
            j, indicator = names.index(name), names.index(missing_indicator(name))
            missing = r[:, indicator + 1] + r[:, 0] * self.shift[indicator]
            r[:, j + 1] += (shift[j] - self.shift[j]) * missing
        r = self.r if torch.equal(r, self.r) else triangle(r)
        return replace(self, r=r).shifted_to(shift)

    def shifted_to(self, shift: Tensor) -> "Factor":
        """The same rows about another shift: only R's first row changes."""
        r = self.r.clone()
        r[0, 1:] += r[0, 0] * (self.shift - shift)
        return replace(self, r=r, shift=shift)

    def raw(self) -> Tensor:
        """R of [1, X, y], unshifted: (d + 2) x (d + 2)."""
        return self.shifted_to(torch.zeros_like(self.shift)).r

    def centred(self, bias: bool) -> Tensor:
        """R for fitting a model: of the columns about their means if it has an intercept, else of
        the raw columns: (d + 1) x (d + 1)."""
        return self.r[1:, 1:] if bias else triangle(self.raw()[:, 1:])

    def rounding(self, bias: bool = True) -> Tensor:
        """How much of each column's length may be rounding error: (d + 1,), the target last.

        It is the sum of R's own error, relative to the columns that were folded, and the data's: a
        value of 1e12 is known to 1e-4. Without an intercept R is that of unshifted columns.
        """
        p = len(self.columns)
        folded, raw = _lengths(self.r[:, 1:]), _lengths(self.raw()[:, 1:])
        return ROUNDING * p * folded + EPS * (1 if bias else 4 * p) * raw

    def select(self, columns: Sequence[str]) -> "Factor":
        """The factor of the same rows with these columns only, in this order.

        A column that this factor has not met counts as all zeros (a level that no row had).
        """
        if tuple(columns) == self.columns:
            return self
        taken = take_columns(self.r[:, 1:], self.columns, columns)
        shift = take_columns(self.shift[None], self.columns, columns)[0]
        r = triangle(torch.cat([self.r[:, :1], taken], dim=1))
        return replace(self, columns=tuple(columns), r=r, shift=shift)

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON; float64 is kept to the bit."""
        return {
            "columns": list(self.columns),
            "rows": self.rows,
            "mean_weight": self.mean_weight,
            "row_weight": self.row_weight,
            "r": encode(self.r),
            "shift": encode(self.shift),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Factor":
        """The inverse of to_dict."""
        p = len(values["columns"]) + 1
        r, shift = decode(values["r"]).reshape(p, p), decode(values["shift"])
        weights = values["mean_weight"], values.get("row_weight", 1.0)  # absent in older ones
        return cls(tuple(values["columns"]), r, values["rows"], shift, *weights)


def triangle(rows: Tensor) -> Tensor:
    """R of the QR factorisation of rows (m x p): p x p, diagonal >= 0, zero rows added if m < p.

    On the CPU long blocks are reduced in slices, because MKL's geqrf adds thousands of products in
    sequence, which costs up to three digits (measured on 300,000 rows with a constant column: a
    backward error of 5e-12, against 2e-15 in slices).
    """
    step = max(SLICE, 8 * rows.shape[1])
    with threads_for_columns(rows.shape[1]):
        while len(rows) > step and not rows.is_cuda:
            rows = torch.cat([torch.linalg.qr(some, mode="r").R for some in rows.split(step)])
        r = torch.linalg.qr(rows, mode="r").R
    r = r * torch.where(r.diagonal() < 0, -1.0, 1.0).to(r)[:, None]
    missing = rows.shape[1] - r.shape[0]
    return torch.nn.functional.pad(r, (0, 0, 0, missing)) if missing > 0 else r


def fold(r: Tensor | None, rows: Tensor) -> Tensor:
    """R of the rows seen so far (r, p x p; None: no rows) and more rows (m x p): finite, float64.

    Y = rows · r⁻¹ is well scaled once r has met rows of the same distribution. Then
    rᵀr + rowsᵀrows = rᵀ(I + YᵀY)r, so R = chol(I + YᵀY) · r: matrix products, not reflections,
    with an error like Householder's while r and I + YᵀY are well conditioned. Both are checked for
    every block; if one of them is not, Householder is used.
    """
    p = rows.shape[1]
    if r is None:
        head = len(rows) // HEAD
        if head < 8 * p:  # too few to represent the others
            return triangle(rows)
        r, rows = fold(None, rows[:head]), rows[head:]
    padded = p + -p % WIDTH
    inverse = torch.linalg.solve_triangular(r, torch.eye(p, padded).to(r), upper=True)
    if (r.abs() @ inverse.abs()).sum(dim=1).max() <= INVERSE_LIMIT:  # False for NaN, too
        s = torch.eye(padded).to(r)
        for some in rows.split(IN_CACHE):
            y = some @ inverse
            s += y.mT @ y  # addmm_ would add each row to s: the rounding of equal terms adds up
        s = s[:p, :p]
        if s.trace() <= CHOLESKY_LIMIT * p:
            return torch.linalg.cholesky(s, upper=True) @ r
    return triangle(torch.cat([r, rows]))


def merge(factors: Sequence[Factor]) -> Factor:
    """Merge factors into that of all their rows; columns that some lack are zeros there.

    The tree of merges (groups of 8) depends only on the order, not on which worker was first, so
    the result is the same to the bit on any number of threads or machines.

    Raises:
        ValueError: there is no factor.
    """
    if not factors:
        raise ValueError("merge needs at least one factor")
    columns = union_of(factors)
    met = [f.select(columns) for f in factors if f.rows]
    if not met:
        return Factor.empty(columns)
    level = [f.merged_to(met[0].shift) for f in met]
    while len(level) > 1:
        groups = [level[i : i + MERGED_AT_ONCE] for i in range(0, len(level), MERGED_AT_ONCE)]
        level = [_stack(group) for group in groups]
    return level[0]


def _stack(group: Sequence[Factor]) -> Factor:
    if len(group) == 1:
        return group[0]
    # the R factor of fewer rows than columns has rows of zeros, which would only take time
    r = triangle(torch.cat([f.r[f.r.any(dim=1)] for f in group]))
    rows, counted = sum(f.rows for f in group), sum(f.counted for f in group)
    row_weight = sum(f.weight for f in group) / counted
    return replace(group[0], r=r, rows=rows, mean_weight=counted / rows, row_weight=row_weight)


def _lengths(columns: Tensor) -> Tensor:
    """The lengths of columns, computed without overflow or underflow of their squares."""
    largest = columns.abs().amax(dim=0)
    return largest * (columns / largest.where(largest > 0, 1.0)).norm(dim=0)


def union_of(factors: Sequence[Factor]) -> tuple[str, ...]:
    """All columns in the order of first appearance, the target last."""
    names = dict.fromkeys(name for f in factors for name in f.columns[:-1])
    return (*names, factors[0].columns[-1])


def encode(values: Tensor) -> str:
    """Encode values as base64 of little-endian float64."""
    return base64.b64encode(values.contiguous().double().numpy().astype("<f8").tobytes()).decode()


def decode(text: str) -> Tensor:
    """The inverse of encode, as a flat float64 tensor."""
    values = np.frombuffer(base64.b64decode(text), dtype="<f8")
    return torch.from_numpy(values.astype(np.float64))
