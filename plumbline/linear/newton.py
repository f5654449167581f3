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
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from plumbline.linear.factor import fold, triangle
from plumbline.linear.problem import Standardizer
from plumbline.threads import one_thread

MOST_UNKNOWNS = 500  # beyond, the Hessian costs more than the steps that it saves
MOST_STEPS, MOST_HALVINGS = 30, 20
LBFGS_DECREASE = 1e-6
ROUNDING = 1e-12  # relative: a smaller decrease of the loss is none
# A logit of a standardised feature that is still growing after all steps, or a mean loss near 0:
# then some combination of the features separates classes, and there is no optimum.
SEPARATED_LOSS = 1e-6

Read = Callable[[str], Iterable[Tensor]]  # a part's rows: features, then an indicator a class


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
    """Rows at some parameters: the mean loss, the gradient of the sum and R of its Hessian."""

    loss: float
    rows: int
    gradient: Tensor
    r: Tensor | None


def logistic_fit(
    read: Read,
    parts: Sequence[str],
    names: tuple[str, ...],
    classes: tuple[str, ...],
    standardizer: Standardizer,
    left_out: Iterable[str] = (),
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> LogisticFit:
    """Minimise the mean log-loss exactly.

    Args:
        read: the rows of a part, (k, d + K) float64, as often as they are asked for.
        parts: their names, in order.
        names: of the d features.
        classes: of the K indicators that follow.
        standardizer: of the features: steps are taken in its units.
        left_out: features that others determine; they get weight 0.
        on_step: told each step (from 1) and the loss before it.

    Returns:
        The fit; with `problem` if the classes are separated (the loss has no minimum then: some
        weights grow without bound) or the steps did not suffice.
    """
    gone = set(left_out)
    kept = [i for i, name in enumerate(names) if name not in gone]
    sum_up = partial(_sum_up, read, parts, standardizer, kept, len(names))
    theta = torch.zeros(len(classes) - 1, len(kept) + 1, dtype=torch.float64)
    found, losses, problem = sum_up(theta), [], ""
    for number in range(1, MOST_STEPS + 1):
        losses.append(found.loss)
        on_step(number, found.loss)
        step = _newton_step(found)
        theta, following = _descend(sum_up, theta, step.reshape(theta.shape), found)
        decrease, found = found.loss - following.loss, following
        if found.loss < SEPARATED_LOSS or decrease <= ROUNDING * found.loss:
            break
    else:
        problem = "the loss still falls after the last step"
    losses.append(found.loss)
    if found.loss < SEPARATED_LOSS or problem:
        problem = _separation(theta, [names[i] for i in kept], classes, problem)
    parameters, errors = _raw(theta, found.r, standardizer, kept, len(names))
    return LogisticFit(names, classes, parameters, errors, tuple(losses), problem)


def unknowns(names: Sequence[str], classes: Sequence[str]) -> int:
    """How many parameters a logistic model has: (K - 1)(d + 1)."""
    return (len(classes) - 1) * (len(names) + 1)


def fit_by_lbfgs(
    read: Read,
    parts: Sequence[str],
    names: tuple[str, ...],
    classes: tuple[str, ...],
    standardizer: Standardizer,
    left_out: Iterable[str] = (),
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> LogisticFit:
    """The same where the Hessian is too large: L-BFGS on the streamed loss, to a relative decrease
    of 1e-6, without standard errors. Arguments as those of logistic_fit."""
    gone = set(left_out)
    kept = [i for i, name in enumerate(names) if name not in gone]
    theta = torch.zeros(len(classes) - 1, len(kept) + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([theta], max_iter=10, line_search_fn="strong_wolfe")
    sum_up = partial(_sum_up, read, parts, standardizer, kept, len(names), curvature=False)
    losses: list[float] = []

    def closure() -> float:
        found = sum_up(theta.detach())
        theta.grad = (found.gradient / found.rows).reshape(theta.shape)
        return found.loss

    for number in range(1, MOST_STEPS + 1):
        losses.append(float(optimizer.step(closure)))
        on_step(number, losses[-1])
        if number > 1 and losses[-2] - losses[-1] <= LBFGS_DECREASE * losses[-2]:
            break
    losses.append(sum_up(theta.detach()).loss)
    parameters, errors = _raw(theta.detach(), None, standardizer, kept, len(names))
    return LogisticFit(names, classes, parameters, errors, tuple(losses))


def _newton_step(found: _Pass) -> Tensor:
    """-H⁻¹g with H = RᵀR; along directions without curvature there is no step."""
    sizes = found.r.norm(dim=0)
    scale = torch.where(sizes > 0, sizes, 1.0)
    inverse = torch.linalg.pinv(found.r / scale, rtol=1e-12)
    return -(inverse @ (inverse.mT @ (found.gradient / scale))) / scale


def _descend(
    sum_up: Callable[[Tensor], _Pass], theta: Tensor, step: Tensor, before: _Pass
) -> tuple[Tensor, _Pass]:
    """Take a step, halved until the loss does not rise; the same place if it always does."""
    for _ in range(MOST_HALVINGS):
        found = sum_up(theta + step)
        if found.loss <= before.loss:
            return theta + step, found
        step = step / 2
    return theta, before


def _sum_up(
    read: Read,
    parts: Sequence[str],
    standardizer: Standardizer,
    kept: list[int],
    features: int,
    theta: Tensor,
    curvature: bool = True,
) -> _Pass:
    """One pass over all parts, a part a thread, added up in their order; the Hessian if wanted."""

    def one(part: str) -> _Pass | None:
        total = None
        with one_thread():
            for rows in read(part):
                z = (rows[:, :features] - standardizer.mean) / standardizer.scale
                ones = torch.ones(len(z), 1, dtype=z.dtype)
                z, observed = torch.cat([ones, z[:, kept]], dim=1), rows[:, features:]
                total = _add(total, z, observed, theta, curvature)
        return total

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = [each for each in pool.map(one, parts) if each]
    rows = sum(each.rows for each in found)
    return _Pass(
        sum(each.loss * each.rows for each in found) / rows,
        rows,
        sum(each.gradient for each in found),
        triangle(torch.cat([each.r for each in found])) if curvature else None,
    )


def _add(total: _Pass | None, z: Tensor, observed: Tensor, theta: Tensor, curvature: bool) -> _Pass:
    """Add rows z, (k, p) with the constant first, and the indicators of their classes, (k, K)."""
    logits = functional.pad(z @ theta.mT, (1, 0))
    log_p = logits.log_softmax(dim=1)
    p = log_p.exp()
    loss = -float((observed * log_p).sum())
    gradient = ((p - observed)[:, 1:].mT @ z).flatten()
    r = total.r if total else None
    for rows in _hessian_rows(p, z) if curvature else ():
        r = fold(r, rows)
    if total is None:
        return _Pass(loss / len(z), len(z), gradient, r)
    rows = total.rows + len(z)
    return _Pass((total.loss * total.rows + loss) / rows, rows, total.gradient + gradient, r)


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


def _raw(
    theta: Tensor, r: Tensor | None, standardizer: Standardizer, kept: list[int], features: int
) -> tuple[Tensor, Tensor]:
    """Parameters and standard errors in raw units: (K - 1, d + 1) each.

    The covariance of theta is (RᵀR)⁻¹.
    """
    size = theta.shape[1]
    to_raw = torch.eye(size, dtype=torch.float64)
    to_raw[1:, 1:] = (1 / standardizer.scale[kept]).diag()
    to_raw[0, 1:] = -standardizer.mean[kept] / standardizer.scale[kept]
    places = [0, *(i + 1 for i in kept)]
    parameters = torch.zeros(len(theta), features + 1, dtype=torch.float64)
    errors = torch.full_like(parameters, math.nan)
    parameters[:, places] = theta @ to_raw.mT
    if r is None:
        return parameters, errors
    inverse = torch.linalg.pinv(r, rtol=1e-12)
    for c in range(len(theta)):
        errors[c, places] = (to_raw @ inverse[c * size : (c + 1) * size]).norm(dim=1)
    return parameters, errors
