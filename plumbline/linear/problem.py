"""The least-squares problem in training's units, p + 1 rows of the R factor, and what its curvature
implies for gradient descent: which rates are stable, which is best, how many epochs it takes.

For a quadratic with Hessian eigenvalues λ, SGD with momentum m (torch's convention, no dampening)
multiplies the error along an eigenvector by the roots of z² - (1 + m - rate·λ) z + m = 0 each step
(Polyak 1964). It diverges if a root is outside the unit circle: rate > 2 (1 + m) / λ.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from plumbline.config.schema import Training
from plumbline.errors import InputError
from plumbline.linear.factor import Factor, triangle
from plumbline.linear.least_squares import total_squares

MOST_EPOCHS = 10**12
MOST_STEPPED = 100_000


@dataclass(frozen=True)
class Standardizer:
    """How features are scaled for training: z = (x - mean) / scale.

    Attributes:
        mean: (d,) float64; 0 if features are not centred.
        scale: (d,) float64, > 0.
        target_mean, target_scale: the same for the target; 0 and 1 if it is not scaled.
    """

    mean: Tensor
    scale: Tensor
    target_mean: float = 0.0
    target_scale: float = 1.0

    @classmethod
    def of(cls, factor: Factor, bias: bool, standardize: bool) -> "Standardizer":
        """Keep raw units, or scale features to mean 0 and standard deviation 1.

        Without an intercept they are scaled to root mean square 1, because centring would change
        the model. A constant feature keeps its scale.
        """
        d = len(factor.columns) - 1
        mean, scale = torch.zeros(d, dtype=torch.float64), torch.ones(d, dtype=torch.float64)
        if standardize:
            r = factor.r[1:, 1:-1] if bias else factor.raw()[:, 1:-1]
            spread = r.norm(dim=0) / factor.weight**0.5
            rounding = factor.rounding(bias)[:-1] / factor.weight**0.5
            scale = torch.where(spread > rounding, spread, scale)
            mean = factor.means[:-1] if bias else mean
        return cls(mean, scale)

    def with_target(self, factor: Factor, log_link: bool = False) -> "Standardizer":
        """Also scale the target to mean 0 and standard deviation 1, or for a log link only to mean
        1; a constant target keeps its scale."""
        mean = float(factor.means[-1])
        if log_link:
            return replace(self, target_scale=mean or 1.0)
        spread = float((total_squares(factor) / factor.weight) ** 0.5)
        return replace(self, target_mean=mean, target_scale=spread or 1.0)

    def apply_(self, columns: Tensor) -> Tensor:
        """Scale raw columns in place, features then target: (d + outputs, k) float64."""
        outputs = len(columns) - len(self.mean)
        mean = torch.cat([self.mean, self.mean.new_full((outputs,), self.target_mean)])
        scale = torch.cat([self.scale, self.scale.new_full((outputs,), self.target_scale)])
        return columns.sub_(mean[:, None]).div_(scale[:, None])

    def raw(self, intercept: Tensor, weights: Tensor) -> tuple[float, Tensor]:
        """Convert trained parameters to (intercept, weights) in raw units, float64."""
        weights = weights.detach().cpu().double().flatten() / self.scale
        return float(intercept.detach()) - float(weights @ self.mean), weights

    def trained(self, intercept: float, weights: Tensor) -> Tensor:
        """The inverse of `raw`, as one vector (d + 1,): the intercept, then the weights."""
        first = torch.tensor([intercept + float(weights @ self.mean)], dtype=torch.float64)
        return torch.cat([first, weights * self.scale])


@dataclass(frozen=True)
class Problem:
    """Rows with the same mean squared error as the data, for every intercept and weights.

    Attributes:
        matrix: (p + 1) x p float64: a column for the intercept, if there is one, and one for each
            feature.
        target: (p + 1,) float64.
        rows: n, the number of data rows that they represent; with weights, their sum.
        bias: whether the first column is the intercept's.
    """

    matrix: Tensor
    target: Tensor
    rows: float
    bias: bool

    @classmethod
    def of(cls, factor: Factor, standardizer: Standardizer, bias: bool) -> "Problem":
        """The factor's rows [1, (x - mean) / scale, y], unshifted."""
        zero = torch.zeros(1, dtype=torch.float64)
        r = factor.shifted_to(torch.cat([standardizer.mean, zero])).r.clone()
        r[:, 1:-1] /= standardizer.scale
        r = r if bias else triangle(r[:, 1:])
        return cls(r[:, :-1].contiguous(), r[:, -1].contiguous(), factor.weight, bias)

    def curvature(self, rank: int, weight_decay: float = 0.0) -> Tensor:
        """Eigenvalues of the Hessian (2/n) MᵀM (+ weight_decay on the weights), ascending: (p,).

        torch adds weight_decay · w to the gradient, so it enters the Hessian as it is.

        Args:
            rank: of the matrix; without weight decay the other eigenvalues are 0.
            weight_decay: as torch's optimizers take it.
        """
        if not weight_decay:
            found = 2 / self.rows * torch.linalg.svdvals(self.matrix).square().flip(0)
            found[: len(found) - rank] = 0.0
            return found
        decay = torch.full((self.matrix.shape[1],), weight_decay, dtype=torch.float64)
        decay[0] = 0.0 if self.bias else weight_decay
        return torch.linalg.eigvalsh(2 / self.rows * self.matrix.mT @ self.matrix + decay.diag())


def largest_stable_rate(curvature: Tensor, momentum: float) -> float:
    """The rate 2 (1 + m) / L, above which SGD diverges; infinite if the loss is flat.

    Args:
        curvature: (p,) eigenvalues of the Hessian with weight decay, ascending, as
            Problem.curvature returns them.
        momentum: m in [0, 1).
    """
    steepest = float(curvature[-1])
    return 2 * (1 + momentum) / steepest if steepest > 0 else math.inf


def best_rate(curvature: Tensor, momentum: float) -> float:
    """The fixed rate whose slowest eigenvector converges fastest: 2 / (L + μ) without momentum.

    Directions without curvature (collinear columns) do not count: descent never moves in them.
    With momentum m all rates with (1-√m)² <= rate·λ <= (1+√m)² for all λ converge equally fast, by
    √m per step, and the result is their geometric mean. If there are none, the factors of L and μ,
    the roots of z² - (1 + m - rate·λ) z + m, are equal at 2(1 + m) / (L + μ).
    """
    curved = _curved(curvature)
    if not len(curved):
        return 1.0
    mu, steepest = float(curved[0]), float(curved[-1])
    low = (1 - math.sqrt(momentum)) ** 2 / mu
    high = (1 + math.sqrt(momentum)) ** 2 / steepest
    if momentum and low <= high:
        return math.sqrt(low * high)
    return 2 * (1 + momentum) / (steepest + mu)


def best_momentum(curvature: Tensor) -> float:
    """The momentum with which SGD at its best rate converges fastest (Polyak 1964).

    ((√k - 1) / (√k + 1))² with k = L / μ, rounded up to two digits of its distance from 1, because
    slightly too much costs little and slightly too little costs a lot. Directions without curvature
    do not count; 0 if no direction has any.
    """
    curved = _curved(curvature)
    if not len(curved):
        return 0.0
    root = math.sqrt(float(curved[-1] / curved[0]))
    distance = 1 - ((root - 1) / (root + 1)) ** 2
    places = 1 - math.floor(math.log10(distance))
    return round(1 - math.floor(distance * 10**places) / 10**places, places)


def epochs_to(
    problem: Problem, start: Tensor, best: Tensor, rate: float, momentum: float, tolerance: float
) -> int | None:
    """Epochs of full-batch SGD until the loss is within tolerance of the optimum.

    Args:
        problem: the problem, without weight decay.
        start: (p,) the initial parameters in training's units.
        best: (p,) the optimum.
        rate: the learning rate.
        momentum: m.
        tolerance: in units of the loss.

    Returns:
        The number of epochs; None if it is more than 10^12 (10^5 with momentum).
    """
    _, sigma, vt = torch.linalg.svd(problem.matrix, full_matrices=False)
    curvature = 2 / problem.rows * sigma.square()
    offset = vt @ (start - best)
    if momentum:
        return _epochs_stepped(rate * curvature, offset, curvature, momentum, tolerance)

    def reached(epochs: int) -> bool:
        left = (1 - rate * curvature).abs().pow(float(epochs)) * offset
        return float(0.5 * (curvature * left.square()).sum()) <= tolerance

    found = bisect_left(range(MOST_EPOCHS + 1), True, key=reached)
    return found if found <= MOST_EPOCHS else None


def _epochs_stepped(
    steps: Tensor, offset: Tensor, curvature: Tensor, momentum: float, tolerance: float
) -> int | None:
    """epochs_to with momentum, whose loss may fall and rise again: simulate every step.

    Along each eigenvector e' = (1 + m - step) e - m e₋₁, starting at rest. None beyond 100,000
    epochs.
    """
    before = now = offset
    for epochs in range(MOST_STEPPED + 1):
        if float(0.5 * (curvature * now.square()).sum()) <= tolerance:
            return epochs
        before, now = now, (1 + momentum - steps) * now - momentum * before
    return None


def choose_rate(training: Training, curvature: Tensor) -> float:
    """The configured learning rate of full-batch SGD, or the best one for "auto".

    Raises:
        InputError: training would diverge at the rate on this data.
    """
    if training.learning_rate == "auto":
        return best_rate(curvature, training.momentum)
    limit = largest_stable_rate(curvature, training.momentum)
    if training.learning_rate > limit:
        raise InputError(
            f"training.learning_rate must be at most {limit:.6g} on this data, or training "
            f"diverges. Got {training.learning_rate} instead; auto uses the best rate, "
            f"{best_rate(curvature, training.momentum):.6g}."
        )
    return training.learning_rate


def descends(training: Training) -> bool:
    """Whether this module's theory applies: full-batch SGD on the squared error."""
    return training.optimizer == "sgd" and training.compressible


def _curved(curvature: Tensor) -> Tensor:
    return curvature[curvature > 0]
