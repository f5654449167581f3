"""What a target's likelihood is, given scores that are linear in the features.

A row's scores η are a number, or one for each class but the first. A family gives what the row
loses (the negative log-likelihood, but for a constant), the slope of that in η, and roots of its
curvature: columns whose outer products add up to its Hessian in η (McCullagh and Nelder,
Generalized Linear Models, 2nd ed., chapters 2, 5 and 6).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor
from torch.nn import functional

REMEDY = "training.weight_decay with another optimizer keeps them finite"


class Terms(NamedTuple):
    """Of k rows.

    Attributes:
        losses: (k, m), a row's to be added up.
        slopes: (k, outputs).
        roots: (k, outputs) each.
    """

    losses: Tensor
    slopes: Tensor
    roots: Sequence[Tensor] | Iterator[Tensor]


@dataclass(frozen=True)
class Logistic:
    """Classes: η_c is the logarithm of how much likelier class c is than the first.

    Attributes:
        classes: K names; the first is the reference.
        offset: what intercepts of η lack.
        least_loss: a mean loss below it has no minimum, since it is that of separated classes.
    """

    classes: tuple[str, ...]
    offset: ClassVar[float] = 0.0
    least_loss: ClassVar[float] = 1e-6

    @property
    def outputs(self) -> int:
        """How many scores a row has: K - 1."""
        return len(self.classes) - 1

    def terms(self, scores: Tensor, observed: Tensor) -> Terms:
        """Of scores, (k, K - 1), and indicators of the classes, (k, K)."""
        log_p = functional.pad(scores, (1, 0)).log_softmax(dim=1)
        p = log_p.exp()
        return Terms(-observed * log_p, (p - observed)[:, 1:], self._roots(p))

    def _roots(self, p: Tensor) -> Iterator[Tensor]:
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

    def unbounded(self, output: int, feature: str) -> str:
        """Why there is no optimum, if this feature's weight grows furthest."""
        return (
            f"the features separate class '{self.classes[output + 1]}' from the others (above all "
            f"{feature}), so that weights grow without bound; {REMEDY}"
        )


@dataclass(frozen=True)
class Poisson:
    """Counts, or other amounts >= 0, of mean μ = mean·exp(η); a row loses μ - y·log(μ/mean).

    Attributes:
        mean: of the rows to fit, > 0.
        classes: there are none.
        outputs, offset, least_loss: as those of Logistic; this loss may have either sign.
    """

    mean: float
    classes: ClassVar[tuple[str, ...]] = ()
    outputs: ClassVar[int] = 1
    least_loss: ClassVar[float] = -math.inf

    @property
    def offset(self) -> float:
        """log(mean)."""
        return math.log(self.mean)

    def terms(self, scores: Tensor, observed: Tensor) -> Terms:
        """Of scores and counts, (k, 1) each."""
        expected = self.mean * scores.exp()
        return Terms(expected - observed * scores, expected - observed, [expected.sqrt()])

    def unbounded(self, output: int, feature: str) -> str:
        """Why there is no optimum, if this feature's weight grows furthest."""
        return (
            f"rows that all have 0 stand apart by their features (above all {feature}), so that "
            f"weights grow without bound; {REMEDY}"
        )


Family = Logistic | Poisson
