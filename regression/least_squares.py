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
class Coefficient:
    """One line of the table of coefficients.

    Attributes:
        name: "intercept", or the feature's.
        value: in raw units.
        error: standard error; None where there is none.
    """

    name: str
    value: float
    error: float | None

    @property
    def t_value(self) -> float | None:
        """value / error; None where there is no error, or it is 0."""
        return self.value / self.error if self.error else None


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
        rows: n; the sum of the weights where rows are weighted, in all that follows from n, too.
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
    rows: float
    rank: int
    r2: float | None
    condition: float
    collinear: tuple[str, ...]

    @property
    def coefficients(self) -> tuple[Coefficient, ...]:
        """The intercept, then the features in order: d + 1."""
        names, values = ("intercept", *self.names), (self.intercept, *self.weights.tolist())
        errors = (self.intercept_error, *self.errors)
        return tuple(map(Coefficient, names, values, errors))

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

    With an intercept, R without its first row and column is the factor of the centred columns,
    whatever the shift: the weights and the rank come from there, and b = mean(y) - w · mean(x).

    Args:
        factor: of at least one row.
        bias: whether the model has an intercept.
    """
    names, rows = factor.columns[:-1], factor.weight
    r = factor.r[1:, 1:] if bias else triangle(factor.raw()[:, 1:])
    system, right = r[:-1, :-1], r[:-1, -1]
    weights, inverse, rank, lost = _solve(system, right)
    rank += bias
    rss = float(r[-1, -1].square() + (system @ weights - right).square().sum())
    spread = math.sqrt(rss / (rows - rank)) if rows > rank else None
    errors = [
        _error(spread, length, gone) for length, gone in zip(inverse.norm(dim=1), lost, strict=True)
    ]
    intercept, intercept_error = 0.0, None
    if bias:
        means = factor.r[0, 1:] / factor.r[0, 0] + factor.shift
        intercept = float(means[-1] - weights @ means[:-1])
        length = (1 / rows + (means[:-1] @ inverse).square().sum()).sqrt()
        moved = any(gone and mean != 0 for gone, mean in zip(lost, means[:-1], strict=True))
        intercept_error = _error(spread, length, moved)
    total = float(r[:, -1].square().sum())
    condition = _condition(factor.raw()[:, 0 if bias else 1 : -1]) if not any(lost) else math.inf
    return LeastSquares(
        names,
        intercept,
        weights,
        intercept_error,
        tuple(errors),
        rss,
        rows,
        rank,
        1 - rss / total if total > 0 else None,
        condition,
        tuple(name for name, gone in zip(names, lost, strict=True) if gone),
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
    return float(moved.square().sum()) / factor.weight


def total_squares(factor: Factor) -> float:
    """Sum of squares of the target about its mean."""
    return float(factor.r[1:, -1].square().sum())


def _error(spread: float | None, length: Tensor, undetermined: bool) -> float | None:
    """A standard error, where there is one."""
    return None if spread is None or undetermined else spread * float(length)


def _condition(columns: Tensor) -> float:
    """Condition number of columns scaled to unit length."""
    sigma = torch.linalg.svdvals(columns / columns.norm(dim=0))
    return float(sigma[0] / sigma[-1]) if sigma[-1] > 0 else math.inf


def _solve(system: Tensor, right: Tensor) -> tuple[Tensor, Tensor, int, list[bool]]:
    """(solution, (pseudo-)inverse, rank, which columns are not determined).

    Rank is judged on columns of unit length with the cutoff p · eps · σ_max. A cutoff that grows
    with n would throw good columns away in large tables (scikit-learn #33032).
    """
    p = len(system)
    lengths = system.norm(dim=0)
    scale = torch.where(lengths > 0, lengths, 1.0)
    u, sigma, vt = torch.linalg.svd(system / scale)
    lost = sigma <= (p + 1) * EPS * sigma[0]
    rank = p - int(lost.sum())
    if rank == p:
        solution = torch.linalg.solve_triangular(system, right[:, None], upper=True)[:, 0]
        identity = torch.eye(p, dtype=torch.float64)
        inverse = torch.linalg.solve_triangular(system, identity, upper=True)
        return solution, inverse, rank, [False] * p
    inverse = (vt[~lost].mT / sigma[~lost]) @ u[:, ~lost].mT / scale[:, None]
    undetermined = vt[lost].square().sum(dim=0) > math.sqrt(EPS)
    return inverse @ right, inverse, rank, undetermined.tolist()
