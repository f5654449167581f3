"""The logistic optimum by Newton's method: each step is one pass over the rows.

For K classes the first is the reference, and class c of the others has the logit θ_c · [1, z]. With
probabilities p of a row and p̄ of its classes but the first, the Hessian of the negative
log-likelihood is the sum over the rows of (diag(p̄) - p̄p̄ᵀ) ⊗ zzᵀ, and diag(p̄) - p̄p̄ᵀ is the sum over
all classes of p_c (e_c - p̄)(e_c - p̄)ᵀ, e_1 = 0. So the rows √p_c (e_c - p̄) ⊗ z have an R factor
with RᵀR the Hessian, and factors of parts stack (iteratively reweighted least squares: McCullagh
and Nelder, Generalized Linear Models, 2nd ed., section 2.5; Agresti, Categorical Data Analysis,
section 8.1).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor
from torch.nn import functional

from plumbline.linear.factor import fold
from plumbline.linear.problem import Standardizer
from plumbline.threads import MapParts, in_threads, one_thread

MOST_UNKNOWNS = 500  # beyond, the Hessian costs more than the steps that it saves
MOST_STEPS, MOST_HALVINGS = 30, 20
LBFGS_DECREASE = 1e-6
ROUNDING = 1e-12  # relative: a smaller decrease of the loss is none
# A logit of a standardised feature that is still growing after all steps, or a mean loss near 0:
# then some combination of the features separates classes, and there is no optimum.
SEPARATED_LOSS = 1e-6

OnStep = Callable[[int, float], None]  # told each step, from 1, and the loss before it


@dataclass(frozen=True)
class LogisticFit:
    """The logistic fit, in raw units.

    Attributes:
        names: the features, d.
        classes: K names; the first is the reference.
        parameters: (K - 1, d + 1) float64: the intercept, then the weights; 0 for features that
            others determine.
        errors: (K - 1, d + 1) standard errors from the inverse of the Hessian; NaN where there is
            none.
        losses: the mean log-loss before each step, and at the end.
        problem: why this is no optimum; empty if it is.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    parameters: Tensor
    errors: Tensor
    losses: tuple[float, ...]
    problem: str = ""

    @property
    def loss(self) -> float:
        """The mean log-loss of the fit on its rows."""
        return self.losses[-1]


@dataclass(frozen=True)
class _Pass:
    """Sums over rows at some parameters: their weights, the loss, its gradient and R of its
    Hessian."""

    weight: float
    total: float
    gradient: Tensor
    r: Tensor | None = None

    @property
    def loss(self) -> float:
        """The mean over the rows."""
        return self.total / self.weight

    def plus(
        self, weight: float, total: float, gradient: Tensor, hessian: Iterable[Tensor]
    ) -> "_Pass":
        """These sums and those of other rows, whose Hessian is that of rows to fold in."""
        r = self.r
        for some in hessian:
            r = fold(r, some)
        return _Pass(self.weight + weight, self.total + total, self.gradient + gradient, r)


@dataclass(frozen=True)
class LogisticProblem:
    """What a logistic fit minimises: the mean log-loss of rows, by parameters theta of standardised
    features, (K - 1, p): for each class but the first a constant, then the features that count.

    Attributes:
        names: the features, d.
        classes: K names, the first is the reference.
        standardizer: of the features.
        left_out: features that others determine; they get weight 0.
        read: the rows of a part, (k, d + K + 1) float64, features, an indicator for each class and
            the row's weight, as often as they are asked for.
        parts: their names, in order.
        map_parts: goes over the parts.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    standardizer: Standardizer
    left_out: frozenset[str]
    read: Callable[[str], Iterable[Tensor]]
    parts: Sequence[str]
    map_parts: MapParts = in_threads

    @cached_property
    def kept(self) -> list[int]:
        """The places of the features that count."""
        return [i for i, name in enumerate(self.names) if name not in self.left_out]

    @property
    def unknowns(self) -> int:
        """How many parameters the model has: (K - 1)(d + 1)."""
        return (len(self.classes) - 1) * (len(self.names) + 1)

    def start(self) -> Tensor:
        """The parameters of a model that knows nothing."""
        return torch.zeros(len(self.classes) - 1, len(self.kept) + 1, dtype=torch.float64)

    def pass_at(self, theta: Tensor, curvature: bool = True) -> _Pass:
        """One pass over all parts, added up in their order; with the Hessian if it is wanted."""
        sums = _Pass(0.0, 0.0, torch.zeros(theta.numel(), dtype=torch.float64))
        for part in self.map_parts(partial(self._pass_of, theta, curvature, sums), self.parts):
            hessian = () if part.r is None else (part.r,)
            sums = sums.plus(part.weight, part.total, part.gradient, hessian)
        return sums

    def _pass_of(self, theta: Tensor, curvature: bool, sums: _Pass, part: str) -> _Pass:
        """The sums of one part, which start at `sums`."""
        d = len(self.names)
        with one_thread():
            for rows in self.read(part):
                z = (rows[:, :d] - self.standardizer.mean) / self.standardizer.scale
                z = functional.pad(z[:, self.kept], (1, 0), value=1.0)
                sums = _add(sums, z, rows[:, d:-1], rows[:, -1:], theta, curvature)
        return sums

    def fit(
        self, theta: Tensor, r: Tensor | None, losses: Sequence[float], problem: str = ""
    ) -> LogisticFit:
        """Parameters and standard errors in raw units; the covariance of theta is (RᵀR)⁻¹."""
        size, mean, scale = theta.shape[1], self.standardizer.mean, self.standardizer.scale
        to_raw = torch.eye(size, dtype=torch.float64)
        to_raw[1:, 1:] = (1 / scale[self.kept]).diag()
        to_raw[0, 1:] = -mean[self.kept] / scale[self.kept]
        places = [0, *(i + 1 for i in self.kept)]
        parameters = torch.zeros(len(theta), len(self.names) + 1, dtype=torch.float64)
        errors = torch.full_like(parameters, math.nan)
        parameters[:, places] = theta @ to_raw.mT
        if r is not None:
            inverse = torch.linalg.pinv(r, rtol=1e-12)
            for c, rows in enumerate(inverse.split(size)):
                errors[c, places] = (to_raw @ rows).norm(dim=1)
        return LogisticFit(self.names, self.classes, parameters, errors, tuple(losses), problem)


def logistic_fit(
    problem: LogisticProblem, on_step: OnStep = lambda step, loss: None
) -> LogisticFit:
    """Minimise the mean log-loss: by Newton's steps, or L-BFGS above 500 unknowns.

    Returns:
        The fit; with `problem` if the classes are separated (the loss has no minimum then: some
        weights grow without bound) or the steps did not suffice.
    """
    solve = fit_by_newton if problem.unknowns <= MOST_UNKNOWNS else fit_by_lbfgs
    return solve(problem, on_step)


def fit_by_newton(
    problem: LogisticProblem, on_step: OnStep = lambda step, loss: None
) -> LogisticFit:
    """To the last digits that float64 has, with standard errors."""
    theta = problem.start()
    found, losses, missing = problem.pass_at(theta), [], ""
    for number in range(1, MOST_STEPS + 1):
        losses.append(found.loss)
        on_step(number, found.loss)
        theta, following = _descend(problem, theta, _newton_step(found), found)
        decrease, found = found.loss - following.loss, following
        if found.loss < SEPARATED_LOSS or decrease <= ROUNDING * found.loss:
            break
    else:
        missing = "the loss still falls after the last step"
    if found.loss < SEPARATED_LOSS or missing:
        names = [problem.names[i] for i in problem.kept]
        missing = _separation(theta, names, problem.classes, missing)
    return problem.fit(theta, found.r, [*losses, found.loss], missing)


def fit_by_lbfgs(
    problem: LogisticProblem, on_step: OnStep = lambda step, loss: None
) -> LogisticFit:
    """Where the Hessian is too large: to a relative decrease of 1e-6, without standard errors."""
    theta = problem.start().requires_grad_()
    optimizer = torch.optim.LBFGS([theta], max_iter=10, line_search_fn="strong_wolfe")
    losses: list[float] = []

    def closure() -> float:
        found = problem.pass_at(theta.detach(), curvature=False)
        theta.grad = (found.gradient / found.weight).reshape(theta.shape)
        return found.loss

    for number in range(1, MOST_STEPS + 1):
        losses.append(float(optimizer.step(closure)))
        on_step(number, losses[-1])
        if number > 1 and losses[-2] - losses[-1] <= LBFGS_DECREASE * losses[-2]:
            break
    return problem.fit(theta.detach(), None, [*losses, closure()])


def _newton_step(found: _Pass) -> Tensor:
    """-H⁻¹g with H = RᵀR; along directions without curvature there is no step."""
    sizes = found.r.norm(dim=0)
    scale = torch.where(sizes > 0, sizes, 1.0)
    inverse = torch.linalg.pinv(found.r / scale, rtol=1e-12)
    return -(inverse @ (inverse.mT @ (found.gradient / scale))) / scale


def _descend(
    problem: LogisticProblem, theta: Tensor, step: Tensor, before: _Pass
) -> tuple[Tensor, _Pass]:
    """Take a step, halved until the loss does not rise; the same place if it always does."""
    for _ in range(MOST_HALVINGS):
        following = theta + step.reshape(theta.shape)
        found = problem.pass_at(following)
        if found.loss <= before.loss:
            return following, found
        step = step / 2
    return theta, before


def _add(
    sums: _Pass, z: Tensor, observed: Tensor, weights: Tensor, theta: Tensor, curvature: bool
) -> _Pass:
    """Add rows z, (k, p) with the constant first, the indicators of their classes, (k, K), and
    their weights, (k, 1)."""
    log_p = functional.pad(z @ theta.mT, (1, 0)).log_softmax(dim=1)
    p = log_p.exp()
    gradient = ((weights * (p - observed))[:, 1:].mT @ z).flatten()
    hessian = _hessian_rows(p, weights.sqrt() * z) if curvature else ()
    total = -float((weights * observed * log_p).sum())
    return sums.plus(float(weights.sum()), total, gradient, hessian)


def _hessian_rows(p: Tensor, z: Tensor) -> Iterator[Tensor]:
    """Rows whose squares add up to the Hessian: √p_c (e_c - p̄) ⊗ z, for two classes √(p₁p₂) z."""
    if p.shape[1] == 2:
        yield p.prod(dim=1).sqrt()[:, None] * z
        return
    others = p[:, 1:]
    for c in range(p.shape[1]):
        direction = -others.clone()
        if c:
            direction[:, c - 1] += 1
        scaled = p[:, c].sqrt()[:, None] * direction
        yield (scaled[:, :, None] * z[:, None, :]).flatten(1)


def _separation(theta: Tensor, names: Sequence[str], classes: Sequence[str], otherwise: str) -> str:
    """Names the feature that grows furthest."""
    sizes = theta[:, 1:].abs()
    if not sizes.numel() or float(sizes.max()) < 10:
        return otherwise
    c, j = divmod(int(sizes.argmax()), sizes.shape[1])
    return (
        f"the features separate class '{classes[c + 1]}' from the others (above all {names[j]}), "
        "so that weights grow without bound; training.weight_decay with another optimizer keeps "
        "them finite"
    )
