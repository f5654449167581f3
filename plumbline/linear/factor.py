"""The R factor: d + 2 rows that have the same squared loss as n rows, for every linear model.

For rows A = [1 X y] with A = QR, ‖A[b; w; -1]‖ = ‖R[b; w; -1]‖ for every intercept b and weights w.
Where rows have weights of their own, each row of A is multiplied by its weight's square root.
R factors of parts stack and reduce to the R factor of the whole: R(A ∪ B) = qr([R(A); R(B)])
(sequential QR: Hanson and Lawson 1969, Mathematics of Computation 23; TSQR: Demmel et al. 2012).

Columns are kept less a fixed shift (the first row met): data far from zero would otherwise spend
their digits on the mean. The first column is never shifted, so [1, X - c, y - c] is [1, X, y] times
an upper triangular matrix and all of the above still holds. A missing number reads as the shift,
and its column has an indicator: so another number can take its place at any time.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from plumbline.data.blocks import take_columns
from plumbline.data.encoding import hole_in, holes_of

# S = I + YᵀY is at least I, so its trace bounds its condition number. Up to here Cholesky loses
# at most two of sixteen digits; above it Householder folds the block. Blocks of one size and one
# distribution come to about 2.
CHOLESKY_LIMIT = 10.0
# Of |r||r⁻¹|, whose size no scaling of the columns changes: how much an explicit inverse can lose
# against a triangular solve. Measured, nothing is lost up to 1e5; above this Householder folds.
INVERSE_LIMIT = 1e4
SLICE = 512  # rows that Householder reduces at once; 8 p of more than 64 columns
HEAD = 6  # Householder folds one row in HEAD of the first block: the others then have an r
IN_CACHE = 2048  # rows whose products stay in the cache
EPS = torch.finfo(torch.float64).eps
# Of a column's length, a column of R: what rounding may add up to over all blocks and merges. Each
# update adds about 1e-16 a column, so the sum grows with the root of their number: measured with
# collinear columns 1e-14 (d = 30) and 4e-13 (d = 120) after 10,000 updates. This is at least 15
# times as much, whatever the cuts, and 1/500 of the smallest singular value of NIST's Filip.
ROUNDING = 1e-13
WIDTH = 8  # of vector registers: products are up to twice as fast in a multiple of it
MERGED_AT_ONCE = 8


@dataclass(frozen=True)
class Factor:
    """R of the rows [1, X - c_x, y - c_y].

    Attributes:
        columns: names of the features, then of the target; d + 1.
        r: (d + 2) x (d + 2) float64 on the CPU, upper triangular, diagonal >= 0.
        rows: n, the number of rows; 0 is allowed, and then r is 0.
        shift: c, (d + 1) float64.
        mean_weight: of the rows by their files' age; 1 without data.window.half_life.
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
        """n for degrees of freedom: the number of rows, of which older ones count less."""
        return self.rows * self.mean_weight

    @property
    def weight(self) -> float:
        """The sum of the rows' weights, which means divide by; `rows` without weights."""
        return self.counted * self.row_weight

    @property
    def means(self) -> Tensor:
        """The columns' means, of at least one row: (d + 1,)."""
        return self.r[0, 1:] / self.r[0, 0] + self.shift

    @classmethod
    def empty(cls, columns: Sequence[str]) -> "Factor":
        """The factor of no rows."""
        p = len(columns) + 1
        zero = torch.zeros(p, p, dtype=torch.float64)
        return cls(tuple(columns), zero, 0, torch.zeros(p - 1, dtype=torch.float64))

    def weighted(self, weight: float) -> "Factor":
        """The same rows, the weight of each in every sum of squares multiplied by `weight`."""
        return replace(self, r=self.r * weight**0.5, mean_weight=self.mean_weight * weight)

    def plus(self, rows: Tensor) -> "Factor":
        """The factor of these rows, none of them aged, and of more.

        Args:
            rows: (m, d + 2), m > 0: the roots of their weights, and by these multiplied the
                features and the target, less the shift.
        """
        count = self.rows + len(rows)
        weight = self.weight + float(rows[:, 0].square().sum())
        r = fold(self.r if self.rows else None, rows)
        return replace(self, r=r, rows=count, row_weight=weight / count)

    def merged_to(self, shift: Tensor) -> "Factor":
        """The same rows about another shift, and so with other values in the holes, which read as
        their column's: what is added to them is a multiple of their indicator."""
        r, names = self.r.clone(), self.columns[:-1]
        for name in holes_of(names):
            j, indicator = names.index(name), names.index(hole_in(name))
            holes = r[:, indicator + 1] + r[:, 0] * self.shift[indicator]
            r[:, j + 1] += (shift[j] - self.shift[j]) * holes
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
        """R of the columns about their means, which a model with an intercept is fitted to, or
        without one of the columns as they are: (d + 1) x (d + 1)."""
        return self.r[1:, 1:] if bias else triangle(self.raw()[:, 1:])

    def rounding(self, bias: bool = True) -> Tensor:
        """How much of each column's length may be rounding: (d + 1,), the target's the last.

        That of R, beside the length of the columns that were folded, and that of the data: a value
        of 1e12 is known to 1e-4. Without an intercept R is taken of unshifted columns.
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

    def to_dict(self) -> dict:
        """Plain values for JSON; float64 is kept to the bit."""
        return {
            "columns": list(self.columns),
            "rows": self.rows,
            "mean_weight": self.mean_weight,
            "row_weight": self.row_weight,
            "r": encode(self.r),
            "shift": encode(self.shift),
        }

    @classmethod
    def from_dict(cls, values: dict) -> "Factor":
        """The inverse of to_dict."""
        p = len(values["columns"]) + 1
        r, shift = decode(values["r"]).reshape(p, p), decode(values["shift"])
        weights = values["mean_weight"], values.get("row_weight", 1.0)  # older ones have no such
        return cls(tuple(values["columns"]), r, values["rows"], shift, *weights)


def triangle(rows: Tensor) -> Tensor:
    """R of a QR of rows (m x p), as p x p with diagonal >= 0; m < p is padded with zero rows.

    On the CPU long blocks are reduced slice by slice: MKL's geqrf adds up thousands of products one
    after the other, which costs up to three digits (measured on 300,000 rows with a constant
    column: a backward error of 5e-12, and 2e-15 in slices).
    """
    step = max(SLICE, 8 * rows.shape[1])
    while len(rows) > step and not rows.is_cuda:
        rows = torch.cat([torch.linalg.qr(some, mode="r").R for some in rows.split(step)])
    r = torch.linalg.qr(rows, mode="r").R
    r = torch.triu(r) * torch.where(r.diagonal() < 0, -1.0, 1.0).to(r)[:, None]
    missing = rows.shape[1] - r.shape[0]
    return torch.nn.functional.pad(r, (0, 0, 0, missing)) if missing > 0 else r


def fold(r: Tensor | None, rows: Tensor) -> Tensor:
    """R of the rows seen so far (r, p x p) and a block of more (m x p): all finite, float64.

    Y = rows · r⁻¹ is well scaled once r has met rows of the same distribution. Then
    rᵀr + rowsᵀrows = rᵀ(I + YᵀY)r, so R = chol(I + YᵀY) · r: matrix products, not reflections,
    with an error like Householder's while r and I + YᵀY are well conditioned. Both are checked,
    block by block; where one is not Householder takes over.
    """
    p = rows.shape[1]
    if r is None:
        head = len(rows) // HEAD
        if head < 8 * p:  # too few to say how the others are spread
            return triangle(rows)
        r, rows = triangle(rows[:head]), rows[head:]
    padded = p + -p % WIDTH
    inverse = torch.linalg.solve_triangular(r, torch.eye(p, padded).to(r), upper=True)
    if (r.abs() @ inverse.abs()).sum(dim=1).max() <= INVERSE_LIMIT:  # False for NaN, too
        s = torch.eye(padded).to(r)
        for some in rows.mT.split(IN_CACHE, dim=1):
            y = inverse.mT @ some
            s.addmm_(y, y.mT)
        s = s[:p, :p]
        if s.trace() <= CHOLESKY_LIMIT * p:
            return torch.linalg.cholesky(s, upper=True) @ r
    return triangle(torch.cat([r, rows]))


def merge(factors: Sequence[Factor]) -> Factor:
    """The factor of all the rows of several; columns that only some have are zeros in the others.

    The tree of merges depends on the order alone (groups of 8), never on which worker was first,
    so the result is the same to the last bit on any number of threads or machines.
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
    r = triangle(torch.cat([f.r for f in group]))
    rows, counted = sum(f.rows for f in group), sum(f.counted for f in group)
    row_weight = sum(f.weight for f in group) / counted
    return replace(group[0], r=r, rows=rows, mean_weight=counted / rows, row_weight=row_weight)


def _lengths(columns: Tensor) -> Tensor:
    """Lengths of columns, even if their squares are beyond float64."""
    largest = columns.abs().amax(dim=0)
    return largest * (columns / largest.where(largest > 0, 1.0)).norm(dim=0)


def union_of(factors: Sequence[Factor]) -> tuple[str, ...]:
    """All columns in the order first met, the target last."""
    names = dict.fromkeys(name for f in factors for name in f.columns[:-1])
    return (*names, factors[0].columns[-1])


def encode(values: Tensor) -> str:
    """Base64 of the values as little-endian float64."""
    return base64.b64encode(values.contiguous().double().numpy().astype("<f8").tobytes()).decode()


def decode(text: str) -> Tensor:
    """The inverse of encode, as a flat float64 tensor."""
    values = np.frombuffer(base64.b64decode(text), dtype="<f8")
    return torch.from_numpy(values.astype(np.float64))
