"""The likelihoods of a target, given scores that are linear in the features.

A row's scores η are one number, or one for each class but the first. A family gives the loss of the
row (its negative log-likelihood up to a constant), the gradient in η, and roots of the curvature:
columns whose outer products add up to the Hessian in η (McCullagh and Nelder, Generalized Linear
Models, 2nd ed., chapters 2, 5 and 6).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional


class Terms(NamedTuple):
    """The losses of k rows and their derivatives in the scores.

    Attributes:
        losses: (k, m); the loss of a row is the sum.
        slopes: (k, outputs), the gradients.
        roots: (k, outputs) each.
    """

    losses: Tensor
    slopes: Tensor
    roots: Sequence[Tensor] | Iterator[Tensor]


@dataclass(frozen=True)
class Family:
    """The distribution of a target.

    Attributes:
        terms: a function of the scores, (k, outputs), and the observations: counts, (k, 1), or
            indicators of the classes, (k, K).
        classes: K names, the first being the reference; empty for counts.
        offset: to add to the intercept of η.
        least_loss: a mean loss below this means separated classes, for which there is no minimum.
    """

    terms: Callable[[Tensor, Tensor], Terms]
    classes: tuple[str, ...] = ()
    offset: float = 0.0
    least_loss: float = -math.inf

    @property
    def outputs(self) -> int:
        """The number of scores of a row: K - 1, or 1 for counts."""
        return max(1, len(self.classes) - 1)

    def unbounded(self, output: int, feature: str) -> str:
        """Explain why there is no optimum; `feature` is the one whose weight grows most."""
        apart = "rows whose target is 0 from the others"
        if self.classes:  # some rows are enough, such as those of a level in which it never occurs
            apart = f"class '{self.classes[output + 1]}' from the others in some or all rows"
        return (
            f"the features separate {apart} (above all {feature}), so weights grow "
            "without bound; training.weight_decay with another optimizer keeps them finite"
        )


def logistic(classes: tuple[str, ...]) -> Family:
    """The family of K classes: η_c is the log odds of class c against the first."""
    return Family(_logistic_terms, classes, least_loss=1e-6)


def poisson(mean: float) -> Family:
    """The family of counts, or other amounts >= 0, with mean μ = mean·exp(η).

    The loss of a row is μ - y·log(μ/mean), which may have either sign.

    Args:
        mean: of the target in the rows to fit, > 0.
    """
    return Family(partial(_poisson_terms, mean), offset=math.log(mean))


def _poisson_terms(mean: float, scores: Tensor, observed: Tensor) -> Terms:
    expected = mean * scores.exp()
    return Terms(expected - observed * scores, expected - observed, [expected.sqrt()])


def _logistic_terms(scores: Tensor, observed: Tensor) -> Terms:
    log_p = functional.pad(scores, (1, 0)).log_softmax(dim=1)
    p = log_p.exp()
    return Terms(-observed * log_p, (p - observed)[:, 1:], _logistic_roots(p))


def _logistic_roots(p: Tensor) -> Iterator[Tensor]:
    """√p_c (e_c - p̄) for each class, p̄ those of all but the first and e_1 = 0: their outer
    products add up to diag(p̄) - p̄p̄ᵀ. For two classes √(p₁p₂)."""
    if p.shape[1] == 2:
        yield p.prod(dim=1).sqrt()[:, None]
        return
    for c in range(p.shape[1]):
        direction = -p[:, 1:]
        if c:
            direction[:, c - 1] += 1
        yield p[:, c].sqrt()[:, None] * direction
