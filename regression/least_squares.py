"""The exact optimum and what statistics say of it, from the R factor alone.

Formulas: Golub and Van Loan, Matrix Computations, 4th ed., section 5.3 (least squares by QR);
Seber and Lee, Linear Regression Analysis, 2nd ed., chapter 3 (standard errors).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from regression.factor import Factor, triangle

EPS = torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class LeastSquares:
    """The least-squares fit y = intercept + x · weights and its statistics, in raw units.

    Attributes:
        names: the features, d.
        intercept: 0 without one.
        weights: (d,) float64; of least norm in scaled columns where columns are collinear.
        intercept_error: standard error in units of y; None without an intercept, where n <= rank
            or where it is not determined.
        errors: standard error of each weight, None likewise.
        rss: residual sum of squares.
        rows: n.
        rank: number of independent columns, the intercept's included.
        r2: 1 - RSS/TSS, TSS about the mean with an intercept and about 0 without; None if TSS is 0.
        condition: condition number of the columns scaled to unit length; infinite if deficient.
        collinear: features that are a linear combination of others; a constant one is, with the
            intercept.
    """

    names: tuple[str, ...]
    intercept: float
    weights: Tensor
    intercept_error: float | None
    errors: tuple[float | None, ...]
    rss: float
    rows: int
    rank: int
    r2: float | None
    condition: float
    collinear: tuple[str, ...]

    @property
    def mse(self) -> float:
        """The least mean squared error that any weights reach on these rows."""
        return self.rss / self.rows

    @property
    def residual_deviation(self) -> float | None:
        """√(RSS / (n - rank)); None where n <= rank."""
        free = self.rows - self.rank
        return math.sqrt(self.rss / free) if free > 0 else None


def least_squares(factor: Factor, bias: bool = True) -> LeastSquares:
    """Solve min ‖b + X w - y‖ exactly.

    Args:
        factor: of at least one row.
        bias: whether the model has an intercept.
    """
    names = factor.columns[:-1]
    r = factor.r if bias else triangle(factor.raw()[:, 1:])
    system, right = r[:-1, :-1], r[:-1, -1]
    solution, inverse, rank, condition, free = _solve(system, right)
    rss = float(r[-1, -1] ** 2)
    if rank < len(system):
        rss += float((system @ solution - right).square().sum())
    spread = math.sqrt(rss / (factor.rows - rank)) if factor.rows > rank else None
    weights, intercept, unshift = solution, 0.0, torch.eye(len(solution), dtype=torch.float64)
    if bias:
        weights, centre = solution[1:], factor.shift[:-1]
        intercept = float(solution[0] + factor.shift[-1] - weights @ centre)
        unshift[0, 1:] = -centre
        free = [any(free), *free[1:]] if torch.any(centre != 0) and any(free[1:]) else free
    errors = [
        None if spread is None or lost else spread * float(length)
        for lost, length in zip(free, (unshift @ inverse).norm(dim=1), strict=True)
    ]
    total = float((r[1:, -1] if bias else r[:, -1]).square().sum())
    return LeastSquares(
        names,
        intercept,
        weights,
        errors.pop(0) if bias else None,
        tuple(errors),
        rss,
        factor.rows,
        rank,
        1 - rss / total if total > 0 else None,
        condition,
        tuple(n for n, lost in zip(names, free[1:] if bias else free, strict=True) if lost),
    )


def squared_error(factor: Factor, intercept: float, weights: Tensor) -> float:
    """Sum of squared residuals of y = intercept + x · weights over a factor's rows."""
    centre = factor.shift
    shifted = intercept + float(weights @ centre[:-1]) - float(centre[-1])
    residual = factor.r[:, 0] * shifted + factor.r[:, 1:-1] @ weights - factor.r[:, -1]
    return float(residual.square().sum())


def excess(factor: Factor, intercept: float, weights: Tensor, best: LeastSquares) -> float:
    """Mean squared error above the optimum's: ‖R(θ - θ*)‖²/n, without subtracting two losses."""
    step = weights - best.weights
    shifted = intercept - best.intercept + float(step @ factor.shift[:-1])
    moved = factor.r[:, 0] * shifted + factor.r[:, 1:-1] @ step
    return float(moved.square().sum()) / factor.rows


def total_squares(factor: Factor) -> float:
    """Sum of squares of the target about its mean."""
    return float(factor.r[1:, -1].square().sum())


def _solve(system: Tensor, right: Tensor) -> tuple[Tensor, Tensor, int, float, list[bool]]:
    """(solution, (pseudo-)inverse, rank, scaled condition, which columns are not determined).

    Rank is judged on columns of unit length with the cutoff p · eps · σ_max. A cutoff that grows
    with n would throw good columns away in large tables (scikit-learn #33032).
    """
    p = len(system)
    lengths = system.norm(dim=0)
    scale = torch.where(lengths > 0, lengths, 1.0)
    u, sigma, vt = torch.linalg.svd(system / scale)
    lost = sigma <= p * EPS * sigma[0]
    rank = p - int(lost.sum())
    if rank == p:
        solution = torch.linalg.solve_triangular(system, right[:, None], upper=True)[:, 0]
        identity = torch.eye(p, dtype=torch.float64)
        inverse = torch.linalg.solve_triangular(system, identity, upper=True)
        return solution, inverse, rank, float(sigma[0] / sigma[-1]), [False] * p
    inverse = (vt[~lost].mT / sigma[~lost]) @ u[:, ~lost].mT / scale[:, None]
    undetermined = vt[lost].square().sum(dim=0) > math.sqrt(EPS)
    return inverse @ right, inverse, rank, math.inf, undetermined.tolist()
