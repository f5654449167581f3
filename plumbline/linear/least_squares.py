"""The exact least-squares fit and its statistics, from the R factor alone.

Formulas: Golub and Van Loan, Matrix Computations, 4th ed., section 5.3 (least squares by QR);
Seber and Lee, Linear Regression Analysis, 2nd ed., chapter 3 (standard errors).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from plumbline.linear.factor import EPS, Factor, triangle
from plumbline.threads import threads_for_columns

MOST_TERMS = 6  # shown of a combination of columns
MOST_EQUAL = 100  # columns in a combination that says nothing, since as many are kept as rows allow


@dataclass(frozen=True)
class Coefficient:
    """A row of the table of coefficients.

    Attributes:
        name: of the feature, or intercept_name.
        value: in raw units.
        error: standard error; None if there is none.
        equals: for a column that was left out, the combination of other columns that it equals.
    """

    name: str
    value: float
    error: float | None
    equals: Mapping[str, float] | None = None

    @property
    def t_value(self) -> float | None:
        """value / error; None if there is no error, or if it is 0."""
        return self.value / self.error if self.error else None


@dataclass(frozen=True)
class LeastSquares:
    """The least-squares fit y = intercept + x · weights and its statistics, in raw units.

    Attributes:
        names: the features, d.
        intercept: in units of y; 0 without an intercept.
        weights: (d,) float64; 0 for columns left out because others determine them.
        intercept_error: standard error in units of y; None without an intercept or if n <= rank.
        errors: standard error of each weight; None if n <= rank, and for columns left out.
        rss: residual sum of squares.
        rows: n for degrees of freedom: Factor.counted.
        weight: the sum of the rows' weights, the divisor of means; n without weights.
        rank: number of independent columns, the intercept's included.
        r2: 1 - RSS/TSS, TSS about the mean with an intercept and about 0 without; None if TSS is 0.
        condition: condition number of the columns scaled to unit length; infinite if collinear.
        equals: the features that are left out, in order, each with the combination of features
            before it that it equals: coefficients by name, "intercept" for the constant. None: of
            all features that are kept, because these are as many as the rows determine.
    """

    names: tuple[str, ...]
    intercept: float
    weights: Tensor
    intercept_error: float | None
    errors: tuple[float | None, ...]
    rss: float
    rows: float
    weight: float
    rank: int
    r2: float | None
    condition: float
    equals: Mapping[str, Mapping[str, float] | None]

    @property
    def coefficients(self) -> tuple[Coefficient, ...]:
        """The intercept, then the features in order: d + 1."""
        names = (intercept_name(self.names), *self.names)
        values = self.intercept, *self.weights.tolist()
        errors = (self.intercept_error, *self.errors)
        equals = (None, *map(self.equals.get, self.names))
        return tuple(map(Coefficient, names, values, errors, equals))

    @property
    def mse(self) -> float:
        """The least mean squared error of any weights on these rows."""
        return self.rss / self.weight

    @property
    def residual_deviation(self) -> float | None:
        """√(RSS / (n - rank)), in units of y; None if n <= rank."""
        free = self.rows - self.rank
        return math.sqrt(self.rss / free) if free > 0 else None


def least_squares(factor: Factor, bias: bool = True) -> LeastSquares:
    """Solve min ‖b + X w - y‖ exactly.

    With an intercept, R without its first row and column is the factor of the centred columns,
    whatever the shift: it gives the weights and the rank, and b = mean(y) - w · mean(x). Of
    collinear columns the later ones are left out and get weight 0.

    Args:
        factor: of at least one row.
        bias: whether the model has an intercept.
    """
    with threads_for_columns(len(factor.columns)):
        names, rows, noise = factor.columns[:-1], factor.counted, factor.rounding(bias)
        r, means = factor.centred(bias), factor.means if bias else torch.zeros_like(noise)
        left_out = dependences(r[:-1, :-1], noise[:-1], factor.rows - bias)
        gone = {each.place for each in left_out}
        kept = [j for j in range(len(names)) if j not in gone]
        fit = triangle(r[:, [*kept, -1]]) if gone else r
        rank, rss = len(kept) + bias, float(fit[-1, -1].square())
        spread = math.sqrt(rss / (rows - rank)) if rows > rank else None
        solution, error, errors = _solve(fit, means[kept], factor.weight, spread)
        weights = torch.zeros(len(names), dtype=torch.float64)
        weights[kept] = solution
        total = _squares(r[:, -1], noise[-1])
        of, a_row = dict(zip(kept, errors, strict=True)), noise[:-1] / factor.weight**0.5
        columns = factor.raw()[:, 0 if bias else 1 : -1]
        return LeastSquares(
            names,
            float(means[-1] - weights @ means[:-1]),
            weights,
            error if bias else None,
            tuple(of.get(j) for j in range(len(names))),
            rss,
            rows,
            factor.weight,
            rank,
            1 - rss / total if total > 0 else None,
            math.inf if gone else float(torch.linalg.cond(columns / columns.norm(dim=0))),
            {names[each.place]: each.equals(names, means[:-1], a_row) for each in left_out},
        )


def squared_error(factor: Factor, intercept: float, weights: Tensor) -> float:
    """The sum of squared residuals of y = intercept + x · weights over a factor's rows."""
    centre = factor.shift
    shifted = intercept + float(weights @ centre[:-1]) - float(centre[-1])
    residual = factor.r[:, 0] * shifted + factor.r[:, 1:-1] @ weights - factor.r[:, -1]
    return float(residual.square().sum())


def excess(factor: Factor, intercept: float, weights: Tensor, best: LeastSquares) -> float:
    """The mean squared error above the optimum's, ‖R(θ - θ*)‖²/n, without subtracting losses."""
    step = weights - best.weights
    shifted = intercept - best.intercept + float(step @ factor.shift[:-1])
    moved = factor.r[:, 0] * shifted + factor.r[:, 1:-1] @ step
    return float(moved.square().sum()) / factor.weight


def total_squares(factor: Factor) -> float:
    """The sum of squares of the target about its mean; 0 if it is within rounding."""
    return _squares(factor.r[1:, -1], factor.rounding()[-1])


def _squares(column: Tensor, noise: Tensor) -> float:
    """The sum of squares of a column of R; 0 if it is within rounding."""
    length = column.norm()
    return float(length.square()) if length > noise else 0.0


def _solve(
    fit: Tensor, means: Tensor, weight: float, spread: float | None
) -> tuple[Tensor, float | None, list[float | None]]:
    """(weights, error of the intercept, errors of the weights) from R of independent columns."""
    identity = torch.eye(len(means), dtype=torch.float64)
    system, right = fit[:-1, :-1], fit[:-1, -1:]
    inverse = torch.linalg.solve_triangular(system, identity, upper=True)
    weights = torch.linalg.solve_triangular(system, right, upper=True)[:, 0]
    if spread is None:
        return weights, None, [None] * len(means)
    error = spread * float((1 / weight + (means @ inverse).square().sum()).sqrt())
    return weights, error, (spread * inverse.norm(dim=1)).tolist()


@dataclass(frozen=True)
class Dependence:
    """A column determined by kept columns before it: about the means it equals terms · columns.

    Attributes:
        place: index of the column among all d.
        terms: (d,) coefficients; 0 for columns that are not kept or come later. None: of all that
            are kept.
        unsure: (d,) how far each term may be off.
    """

    place: int
    terms: Tensor | None = None
    unsure: Tensor | None = None

    def equals(self, names: Sequence[str], means: Tensor, noise: Tensor) -> dict[str, float] | None:
        """The combination in raw units, rounded to its certain digits, without terms that may be 0.

        Args:
            names: of the d columns.
            means: (d,); 0 without an intercept, so that there is no constant.
            noise: (d,) how far the values of each column may be off.
        """
        if self.terms is None or self.unsure is None:
            return None
        values = map(_certain, self.terms.tolist(), self.unsure.tolist())
        certain = torch.tensor([*values], dtype=torch.float64)
        constant = float(means[self.place] - certain @ means)
        off = (certain - self.terms).abs() @ means.abs() + certain.abs() @ noise + noise[self.place]
        found = dict(zip(names, certain.tolist(), strict=True))
        found["intercept"] = _certain(constant, float(off))
        return {name: value for name, value in found.items() if value}


def dependences(system: Tensor, noise: Tensor, most: int) -> list[Dependence]:
    """Find the columns that earlier ones determine, from left to right; all others are kept.

    The residual of a column after its combination of kept ones is real if it is longer than the
    rounding of all the columns in that combination. For columns divided by their rounding this is
    ‖column j of R⁻¹‖ < 1. Unlike the diagonal of R, it bounds the smallest singular value: a
    combination with large coefficients has large rounding.

    Args:
        system: (d, d), upper triangular.
        noise: (d,) the lengths that may be rounding: Factor.rounding.
        most: how many columns the rows can determine. Once so many are kept, every other one is a
            combination of them, which is left out if it is of more than MOST_EQUAL columns.
    """
    d = len(noise)
    unit = system / noise.where(noise > 0, 1.0)
    identity = torch.eye(d, dtype=torch.float64)
    inverse = torch.linalg.solve_triangular(unit, identity, upper=True)
    if bool((inverse.norm(dim=0) < 1).all()):  # False for NaN, too
        return []
    basis, inverse, found = torch.zeros_like(unit), torch.zeros_like(unit), []
    kept: list[int] = []
    for j in range(d):
        k = len(kept)
        if k == most > MOST_EQUAL and unit[:, j].norm() > 1:  # otherwise it is constant
            found.append(Dependence(j))
            continue
        q, known = basis[: j + 1, :k], inverse[:k, :k]
        rest, along = unit[: j + 1, j], torch.zeros(k).double()
        for _ in range(2):  # Gram-Schmidt, repeated to remove rounding errors
            step = q.mT @ rest
            rest, along = rest - q @ step, along + step
        terms, left = known @ along, rest.norm()
        reach = (1 + terms.square().sum()).sqrt()
        if left > reach:
            basis[: j + 1, k] = rest / left
            inverse[:k, k], inverse[k, k] = -terms / left, 1 / left
            kept.append(j)
            continue
        both = torch.zeros(2, d, dtype=torch.float64)
        both[:, kept] = torch.stack([terms, known.norm(dim=1) * reach]) * noise[j] / noise[kept]
        found.append(Dependence(j, *both))
    return found


def intercept_name(features: Sequence[str]) -> str:
    """What a table of coefficients calls the intercept: another name than a feature's."""
    return "intercept" + "_" * ("intercept" in features)


def format_combination(name: str, equals: Mapping[str, float]) -> str:
    """Format a combination for people: sched_dep_time = 100·hour + minute."""
    text = ""
    terms = list(equals.items())
    if len(terms) > MOST_TERMS:  # never cut off the constant
        terms.sort(key=lambda term: term[0] != "intercept")
    for column, value in terms[:MOST_TERMS]:
        size = f"{abs(value):.10g}"
        size = size if column == "intercept" else column if size == "1" else f"{size}·{column}"
        sign = "-" if value < 0 else "+"
        text += f" {sign} {size}" if text else f"{sign.strip('+')}{size}"
    more = f" + ... ({len(equals)} terms in all)" if len(equals) > MOST_TERMS else ""
    return f"{name} = {text or '0'}{more}"


def _certain(value: float, unsure: float) -> float:
    """Round a value to its certain decimal digits; 0 if it may be 0."""
    unsure = max(unsure, EPS * abs(value))
    certain = unsure < abs(value) < math.inf  # False for NaN, of data beyond float64
    return round(value, -math.ceil(math.log10(unsure))) if certain else 0.0
