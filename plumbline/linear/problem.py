"""What the loop minimises: p + 1 rows of the R factor in the units that training uses."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from plumbline.linear.factor import Factor, triangle
from plumbline.linear.least_squares import total_squares


@dataclass(frozen=True)
class Standardizer:
    """How features are scaled for training: z = (x - mean) / scale.

    Attributes:
        mean: (d,) float64; 0 where features are not centred.
        scale: (d,) float64, > 0.
        target_mean, target_scale: the same of the target; 0 and 1 where it is trained on as it is.
    """

    mean: Tensor
    scale: Tensor
    target_mean: float = 0.0
    target_scale: float = 1.0

    @classmethod
    def of(cls, factor: Factor, bias: bool, standardize: bool) -> "Standardizer":
        """Raw units, or mean 0 and deviation 1 (root mean square 1 without an intercept, because
        centring would then change the model). A constant feature keeps its scale."""
        d = len(factor.columns) - 1
        mean, scale = torch.zeros(d, dtype=torch.float64), torch.ones(d, dtype=torch.float64)
        if standardize:
            r = factor.r[:, 1:-1] if bias else factor.raw()[:, 1:-1]
            spread = (r[1:] if bias else r).norm(dim=0) / factor.weight**0.5
            rounding = factor.rounding(bias)[:-1] / factor.weight**0.5
            scale = torch.where(spread > rounding, spread, scale)
            mean = factor.r[0, 1:-1] / factor.r[0, 0] + factor.shift[:-1] if bias else mean
        return cls(mean, scale)

    def with_target(self, factor: Factor, log_link: bool = False) -> "Standardizer":
        """The same, and the target at mean 0 and deviation 1; for a log link, at mean 1 alone;
        a constant target keeps its scale."""
        mean = factor.target_mean
        if log_link:
            return replace(self, target_scale=mean or 1.0)
        spread = float((total_squares(factor) / factor.weight) ** 0.5)
        return replace(self, target_mean=mean, target_scale=spread or 1.0)

    def apply(self, columns: Tensor) -> Tensor:
        """Raw columns, features then target, (d + outputs, k) float64, as they are trained on."""
        outputs = len(columns) - len(self.mean)
        mean = torch.cat([self.mean, self.mean.new_full((outputs,), self.target_mean)])
        scale = torch.cat([self.scale, self.scale.new_full((outputs,), self.target_scale)])
        return (columns - mean[:, None]).div_(scale[:, None])

    def raw(self, intercept: Tensor, weights: Tensor) -> tuple[float, Tensor]:
        """(intercept, weights) of trained parameters in raw units, float64."""
        weights = weights.detach().cpu().double().flatten() / self.scale
        return float(intercept.detach()) - float(weights @ self.mean), weights

    def trained(self, intercept: float, weights: Tensor) -> Tensor:
        """The inverse of raw, as one vector (d + 1,): intercept, then weights."""
        first = torch.tensor([intercept + float(weights @ self.mean)], dtype=torch.float64)
        return torch.cat([first, weights * self.scale])


@dataclass(frozen=True)
class Problem:
    """Rows with the same mean squared error as the data, for every intercept and weights.

    Attributes:
        matrix: (p + 1) x p float64: a column for the intercept (where there is one), one a feature.
        target: (p + 1,) float64.
        rows: n, the number of data rows they stand for; the sum of their weights.
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
            rank: of the matrix. Without weight decay the other eigenvalues are 0.
            weight_decay: as torch's optimizers take it.
        """
        if not weight_decay:
            found = 2 / self.rows * torch.linalg.svdvals(self.matrix).square().flip(0)
            found[: len(found) - rank] = 0.0
            return found
        decay = torch.full((self.matrix.shape[1],), weight_decay, dtype=torch.float64)
        decay[0] = 0.0 if self.bias else weight_decay
        return torch.linalg.eigvalsh(2 / self.rows * self.matrix.mT @ self.matrix + decay.diag())
