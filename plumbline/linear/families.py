"""What a target's likelihood is, given scores that are linear in the features.

A row's scores η are a number, or one for each class but the first. A family gives what the row
loses (the negative log-likelihood, but for a constant), the slope of that in η, and roots of its
curvature: columns whose outer products add up to its Hessian in η (McCullagh and Nelder,
Generalized Linear Models, 2nd ed., chapters 2, 5 and 6).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional


class Terms(NamedTuple):
    """The losses of k rows, and their derivatives.

    Attributes:
        losses: (k, m), a row's to be added up.
        slopes: (k, outputs).
        roots: (k, outputs) each.
    """

    losses: Tensor
    slopes: Tensor
    roots: Sequence[Tensor] | Iterator[Tensor]


@dataclass(frozen=True)
class Family:
    """The distribution of a target.

    Attributes:
        terms: of scores, (k, outputs), and what is observed: counts, (k, 1), or indicators of the
            classes, (k, K).
        classes: K names, the first of which is the reference; empty of counts.
        offset: what intercepts of η lack.
        least_loss: a mean loss below it has no minimum, since it is that of separated classes.
    """

    terms: Callable[[Tensor, Tensor], Terms]
    classes: tuple[str, ...] = ()
    offset: float = 0.0
    least_loss: float = -math.inf

    @property
    def outputs(self) -> int:
        """How many scores a row has: K - 1, or 1."""
        return max(1, len(self.classes) - 1)

    def unbounded(self, output: int, feature: str) -> str:
        """Why there is no optimum, if this feature's weight grows furthest."""
        symptom = "rows that all have 0 stand apart by their features"
        if self.classes:
            symptom = f"the features separate class '{self.classes[output + 1]}' from the others"
        return (
            f"{symptom} (above all {feature}), so that weights grow without bound; "
            "training.weight_decay with another optimizer keeps them finite"
        )


def logistic(classes: tuple[str, ...]) -> Family:
    """Classes: η_c is the logarithm of how much likelier class c is than the first."""
    return Family(_logistic_terms, classes, least_loss=1e-6)


def poisson(mean: float) -> Family:
    """Counts, or other amounts >= 0, of mean μ = mean·exp(η); a row loses μ - y·log(μ/mean), which
    may have either sign.

    Args:
        mean: of the rows to fit, > 0.
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
