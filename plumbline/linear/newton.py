"""Fit by maximum likelihood with Newton's method: each step is one pass over the rows.

A row z, a 1 followed by the standardised features, has the scores θz. If the outer products of d_1,
d_2, ... add up to the curvature of its loss in the scores (families.py), the Hessian in θ is the
sum over the rows of Σ_c d_c d_cᵀ ⊗ zzᵀ. So the rows d_c ⊗ z have an R factor with RᵀR the Hessian,
and factors of parts stack (iteratively reweighted least squares: McCullagh and Nelder, Generalized
Linear Models, 2nd ed., section 2.5; Agresti, Categorical Data Analysis, section 8.1).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial, reduce
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from plumbline.linear.factor import fold
from plumbline.linear.families import Family
from plumbline.linear.problem import Standardizer
from plumbline.threads import MapParts, in_threads, one_thread, threads_for_columns

# Of the products that the Hessian takes for a row, outputs · unknowns²: 500 unknowns of up to five
# classes. Above it the Hessian costs much more than the steps that it saves.
MOST_PRODUCTS = 4 * 500**2
MOST_STEPS, MOST_HALVINGS = 30, 20
LBFGS_DECREASE = 1e-6
ROUNDING = 1e-12  # relative: smaller changes of the loss are rounding
# The largest change of a score in a step. Near an optimum each change is about the square of the
# one before; if scores grow without limit, every step changes them by about 1.
AT_REST, WITHOUT_LIMIT = 1e-5, 0.1
# A step that raises the loss is cut to this change of a score at once: rows that are far on the
# wrong side have a slope but no curvature, so steps may be too long for any number of halvings.
LARGE = 8.0

# Features after a 1, (k, p), what the family observes, (k, observations), and weights, (k, 1).
_Block: TypeAlias = tuple[Tensor, Tensor, Tensor]
OnStep = Callable[[int, float], None]  # called with each step, from 1, and the loss before it


@dataclass(frozen=True)
class LikelihoodFit:
    """The maximum likelihood fit, in raw units.

    Attributes:
        names: the features, d.
        classes: K names, the first being the reference; empty for counts.
        parameters: (K - 1, d + 1) float64, (1, d + 1) without classes: the intercept, then the
            weights; 0 for features that others determine.
        errors: their standard errors from the inverse of the Hessian, of the same shape; NaN if
            there is none.
        losses: the mean loss before each step and at the end.
        problem: why this is not an optimum; empty if it is.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    parameters: Tensor
    errors: Tensor
    losses: tuple[float, ...]
    problem: str = ""


@dataclass(frozen=True)
class _Pass:
    """Sums over rows at some parameters: weights, loss, gradient and the R factor of the Hessian;
    and the largest change of a score in the step that led there."""

    weight: float
    total: float
    gradient: Tensor
    r: Tensor | None = None
    moved: float = 0.0

    @property
    def loss(self) -> float:
        """The mean loss of the rows."""
        return self.total / self.weight

    def plus(self, other: "_Pass", hessian: Iterable[Tensor]) -> "_Pass":
        """Add the sums of other rows; `hessian` yields rows to fold into R for their Hessian."""
        return _Pass(
            self.weight + other.weight,
            self.total + other.total,
            self.gradient + other.gradient,
            reduce(fold, hessian, self.r),
            max(self.moved, other.moved),
        )


@dataclass(frozen=True)
class LikelihoodProblem:
    """The problem of a fit: minimise the mean loss over parameters theta of standardised features.

    theta is (outputs, p): for each score a constant, then the weights of the features kept.

    Attributes:
        names: the features, d.
        family: the distribution of the target, given the scores.
        standardizer: of the features.
        left_out: features that others determine; they get weight 0.
        read: yields blocks of a part's rows, (k, d + observations + 1) float64: the features, what
            the family observes, and the weight.
        parts: the names of the parts, in order.
        map_parts: applies a function to the parts.
        keep: whether to keep the rows in memory, not to read them again in every pass.
    """

    names: tuple[str, ...]
    family: Family
    standardizer: Standardizer
    left_out: frozenset[str]
    read: Callable[[str], Iterable[Tensor]]
    parts: Sequence[str]
    map_parts: MapParts = in_threads
    keep: bool = False
    _blocks: dict[str, list[_Block]] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def kept(self) -> list[int]:
        """The indices of the features that are not left out."""
        return [i for i, name in enumerate(self.names) if name not in self.left_out]

    def start(self) -> Tensor:
        """The initial parameters, all zeros: (outputs, p)."""
        return torch.zeros(self.family.outputs, len(self.kept) + 1, dtype=torch.float64)

    def pass_at(self, theta: Tensor, step: Tensor | None = None, curvature: bool = True) -> _Pass:
        """Make one pass over all parts and add them up in order.

        Args:
            theta: the parameters, (outputs, p).
            step: the step that led to theta, of the same shape; None: there was none.
            curvature: whether to compute the R factor of the Hessian.
        """
        sums = _Pass(0.0, 0.0, torch.zeros(theta.numel(), dtype=torch.float64))
        function = partial(self._pass_of, theta, step, curvature, sums)
        for part in self.map_parts(function, self.parts):
            sums = sums.plus(part, () if part.r is None else (part.r,))
        return sums

    def _pass_of(
        self, theta: Tensor, step: Tensor | None, curvature: bool, sums: _Pass, part: str
    ) -> _Pass:
        """Add the sums of one part to `sums`."""
        with one_thread():
            for z, observed, weights in self._blocks_of(part):
                moved = 0.0 if step is None else float((z @ step.mT).abs().max())
                losses, slopes, roots = self.family.terms(z @ theta.mT, observed)
                gradient = ((weights * slopes).mT @ z).flatten()
                total = float((weights * losses).sum())
                found = _Pass(float(weights.sum()), total, gradient, moved=moved)
                roots = (_rows_of(weights.sqrt() * root, z) for root in roots)
                sums = sums.plus(found, roots if curvature else ())
        return sums

    def _blocks_of(self, part: str) -> Iterable[_Block]:
        if part in self._blocks:
            return self._blocks[part]
        blocks = map(self._standardized, self.read(part))
        return self._blocks.setdefault(part, [*blocks]) if self.keep else blocks

    def _standardized(self, rows: Tensor) -> _Block:
        d, kept = len(self.names), self.kept
        z = (rows[:, kept] - self.standardizer.mean[kept]) / self.standardizer.scale[kept]
        others = rows[:, d:].clone()  # a view would keep the features, too
        return functional.pad(z, (1, 0), value=1.0), others[:, :-1], others[:, -1:]

    def moving_most(self, step: Tensor) -> tuple[int, str]:
        """The index of the score and the name of the feature whose weight a step changes most."""
        names = [self.names[i] for i in self.kept] or ["the intercept"]
        changes = step.reshape(-1, len(self.kept) + 1)[:, -len(names) :]
        output, place = divmod(int(changes.abs().argmax()), len(names))
        return output, names[place]

    def fit(
        self, theta: Tensor, r: Tensor | None, losses: Sequence[float], problem: str = ""
    ) -> LikelihoodFit:
        """Convert theta, of covariance (RᵀR)⁻¹, to parameters and errors in raw units."""
        size, mean, scale = theta.shape[1], self.standardizer.mean, self.standardizer.scale
        to_raw = torch.eye(size, dtype=torch.float64)
        to_raw[1:, 1:] = (1 / scale[self.kept]).diag()
        to_raw[0, 1:] = -mean[self.kept] / scale[self.kept]
        places = [0, *(i + 1 for i in self.kept)]
        parameters = torch.zeros(len(theta), len(self.names) + 1, dtype=torch.float64)
        errors = torch.full_like(parameters, math.nan)
        parameters[:, places] = theta @ to_raw.mT
        parameters[:, 0] += self.family.offset
        if r is not None:
            inverse = torch.linalg.pinv(r, rtol=1e-12)
            for c, rows in enumerate(inverse.split(size)):
                errors[c, places] = (to_raw @ rows).norm(dim=1)
        classes = self.family.classes
        return LikelihoodFit(self.names, classes, parameters, errors, tuple(losses), problem)


def maximize_likelihood(problem: LikelihoodProblem, on_step: OnStep) -> LikelihoodFit:
    """Minimise the mean loss by Newton's method, or by L-BFGS if there are many unknowns.

    Returns:
        The fit; its `problem` is set if the loss has no minimum, because some weights grow without
        bound, or if the steps did not suffice.
    """
    outputs = problem.family.outputs
    unknowns = outputs * (len(problem.names) + 1)
    many = max(4, outputs) * unknowns**2 > MOST_PRODUCTS
    with threads_for_columns(unknowns):
        return (fit_by_lbfgs if many else fit_by_newton)(problem, on_step)


def fit_by_newton(problem: LikelihoodProblem, on_step: OnStep) -> LikelihoodFit:
    """Fit to the precision of float64, with standard errors."""
    theta = problem.start()
    found, losses, missing = problem.pass_at(theta), [], ""
    for number in range(1, MOST_STEPS + 1):
        losses.append(found.loss)
        on_step(number, found.loss)
        step = _newton_step(found).reshape(theta.shape)
        theta, following = _descend(problem, theta, step, found)
        stays = following is found  # the next step would be the same
        falls, found = found.loss - following.loss > ROUNDING * abs(found.loss), following
        at_rest = stays or (not falls and found.moved <= AT_REST)
        if found.loss < problem.family.least_loss or at_rest:
            break
    if found.moved > WITHOUT_LIMIT:
        missing = problem.family.unbounded(*problem.moving_most(step))
    elif falls:
        missing = "the loss still falls after the last step"
    return problem.fit(theta, found.r, [*losses, found.loss], missing)


def fit_by_lbfgs(problem: LikelihoodProblem, on_step: OnStep) -> LikelihoodFit:
    """Fit without the Hessian, to a relative decrease of 1e-6; there are no standard errors."""
    theta = problem.start().requires_grad_()
    optimizer = torch.optim.LBFGS([theta], max_iter=10, line_search_fn="strong_wolfe")
    losses: list[float] = []
    missing = ""

    def closure() -> float:
        found = problem.pass_at(theta.detach(), curvature=False)
        theta.grad = (found.gradient / found.weight).reshape(theta.shape)
        return found.loss

    for number in range(1, MOST_STEPS + 1):
        losses.append(float(optimizer.step(closure)))
        on_step(number, losses[-1])
        if number > 1 and losses[-2] - losses[-1] <= LBFGS_DECREASE * abs(losses[-2]):
            break
    else:
        missing = "the loss still falls after the last step"
    losses.append(closure())
    if losses[-1] < problem.family.least_loss:
        missing = problem.family.unbounded(*problem.moving_most(theta.detach()))
    return problem.fit(theta.detach(), None, losses, missing)


def _newton_step(found: _Pass) -> Tensor:
    """The step -H⁻¹g with H = RᵀR; it is 0 along directions without curvature."""
    assert found.r is not None  # it was asked for
    sizes = found.r.norm(dim=0)
    scale = torch.where(sizes > 0, sizes, 1.0)
    inverse = torch.linalg.pinv(found.r / scale, rtol=1e-12)
    return -(inverse @ (inverse.mT @ (found.gradient / scale))) / scale


def _descend(
    problem: LikelihoodProblem, theta: Tensor, step: Tensor, before: _Pass
) -> tuple[Tensor, _Pass]:
    """Take a step, halved until the loss does not rise; stay if it always does."""
    most = before.loss + ROUNDING * abs(before.loss)
    for _ in range(MOST_HALVINGS):
        found = problem.pass_at(theta + step, step)
        if found.loss <= most:
            return theta + step, found
        step = step / max(2.0, found.moved / LARGE)
    return theta, before


def _rows_of(root: Tensor, z: Tensor) -> Tensor:
    """The products d ⊗ z, row by row: (k, outputs · p)."""
    return (root[:, :, None] * z[:, None, :]).flatten(1)
