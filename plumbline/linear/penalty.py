"""Ridge, lasso and elastic net from R factors: whole paths, and the strength by cross-validation.

The objective is (1/2n)·SSE + strength·(l1_ratio·‖w‖₁ + (1 - l1_ratio)/2·‖w‖²) for features in
training's units with an unpenalised intercept, as in scikit-learn's ElasticNet. R of the centred
columns has the SSE of the rows, also for all folds but one, so no strength needs another pass.

Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 2nd ed.: sections 3.4.1
(ridge by one SVD), 3.8.6 (coordinate descent), 7.10 (folds, the one-standard-error rule).
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from plumbline.config.training import Penalty
from plumbline.linear.factor import Factor, triangle
from plumbline.linear.least_squares import squared_error
from plumbline.linear.problem import Standardizer
from plumbline.linear.summary import Summary

STEPS = 100  # strengths on a path
# The last strength, as a share of the one at which all weights become 0. As in R's glmnet it is
# larger for no more rows than features, because weaker penalties let these fit any target.
LEAST, LEAST_OF_FEW = 1e-4, 1e-2
# Ends of ridge's path, as shares of the largest eigenvalue of XᵀX/n: at the first, weights shrink
# at least 1,000-fold; at the last, only those of nearly collinear features change.
OF_RIDGE = (1e3, 1e-7)
DUAL_GAP, MOST_ROUNDS = 1e-10, 10_000  # of coordinate descent; _polished removes the rest


@dataclass(frozen=True)
class PenaltyPath:
    """The fits for each strength, and which of them is used.

    Attributes:
        names: the features, d.
        strengths: (s,) float64, descending.
        weights: (s, d) float64, in training's units.
        errors: (s, k): for each strength the root mean squared error on each of k folds of the fit
            to the other folds, in units of y; k is 0 without folds.
        chosen: the index of the strength that is used.
    """

    names: tuple[str, ...]
    strengths: Tensor
    weights: Tensor
    errors: Tensor
    chosen: int = 0

    @property
    def strength(self) -> float:
        """The strength that is used."""
        return float(self.strengths[self.chosen])

    @property
    def mean_errors(self) -> Tensor:
        """The means of `errors` over the folds: (s,); NaN without folds."""
        return self.errors.mean(dim=1)

    @property
    def standard_errors(self) -> Tensor:
        """The standard errors of the means: (s,); NaN with fewer than two folds."""
        return self.errors.std(dim=1) / self.errors.shape[1] ** 0.5


@dataclass(frozen=True)
class Penalized:
    """The chosen fit in raw units, its mean squared error on the training rows, and the path."""

    intercept: float
    weights: Tensor
    mse: float
    path: PenaltyPath


def fit_with_penalty(
    data: Summary, penalty: Penalty, bias: bool, standardizer: Standardizer
) -> Penalized:
    """Fit every strength, and choose the configured one or the best by cross-validation.

    All folds use the same scale of features, that of all training rows.

    Args:
        data: must have folds if the strength is auto.
        penalty: the configuration section `training.penalty`.
        bias: whether the model has an intercept.
        standardizer: from raw units to training's.
    """
    everything = _Rows.of(data.train, bias, standardizer)
    few = data.train.rows < len(data.columns)
    strengths = _strengths(everything, penalty, LEAST_OF_FEW if few else LEAST)
    weights = everything.exact_fits(penalty.share_of_sizes, strengths)
    errors = [
        _Rows.of(others, bias, standardizer).errors(penalty.share_of_sizes, strengths, held)
        for others, held in data.fold_pairs
    ]
    of_folds = torch.stack(errors, dim=1) if errors else torch.empty(len(strengths), 0)
    path = PenaltyPath(data.columns[:-1], strengths, weights, of_folds)
    path = replace(path, chosen=_chosen(path, penalty))
    fit = everything.raw(weights[path.chosen])
    return Penalized(*fit, squared_error(data.train, *fit) / data.train.weight, path)


@dataclass(frozen=True)
class _Rows:
    """Rows of R, which have the squared error of the data.

    Attributes:
        x: (m, d), m <= d, centred if there is an intercept, in training's units.
        y: (m,), likewise centred.
        rows: n, the number of data rows, or their total weight.
        means: (d + 1,) of the raw features and the target; 0 without an intercept.
        scale: (d,) divisors of the raw features.
    """

    x: Tensor
    y: Tensor
    rows: float
    means: Tensor
    scale: Tensor

    @classmethod
    def of(cls, factor: Factor, bias: bool, standardizer: Standardizer) -> "_Rows":
        r, scale = factor.centred(bias), standardizer.scale
        x = r[:, :-1] / scale
        some = x.any(dim=1) if x.any() else slice(1)  # the other rows are 0, all but n at least
        return cls(x[some], r[some, -1], factor.weight, factor.means * bias, scale)

    def fits(self, l1_ratio: float, strengths: Tensor) -> Tensor:
        """The weights for each strength: (s, d)."""
        if l1_ratio == 0:
            u, sigma, vt = torch.linalg.svd(self.x, full_matrices=False)
            shrunk = sigma / (sigma.square() + self.rows * strengths[:, None])
            return (shrunk * (u.mT @ self.y)) @ vt
        return self._descended(l1_ratio, strengths)

    def exact_fits(self, l1_ratio: float, strengths: Tensor) -> Tensor:
        """The weights for each strength, (s, d), to full precision, unlike coordinate descent."""
        found = self.fits(l1_ratio, strengths)
        if l1_ratio == 0:
            return found
        pairs = zip(strengths.tolist(), found, strict=True)
        return torch.stack([self._polished(l1_ratio, strength, w) for strength, w in pairs])

    def errors(self, l1_ratio: float, strengths: Tensor, held: Factor) -> Tensor:
        """The root mean squared errors of the fits on held-out rows: (s,)."""
        raw = map(self.raw, self.fits(l1_ratio, strengths))
        found = [math.sqrt(squared_error(held, *fit) / held.weight) for fit in raw]
        return torch.tensor(found, dtype=torch.float64)

    def raw(self, weights: Tensor) -> tuple[float, Tensor]:
        """Convert weights to (intercept, weights) in raw units."""
        weights = weights / self.scale + 0.0  # no -0
        return float(self.means[-1] - weights @ self.means[:-1]), weights

    def _descended(self, l1_ratio: float, strengths: Tensor) -> Tensor:
        """Fit the path by coordinate descent: (s, d)."""
        import warnings

        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import enet_path  # takes a second, so only if it is needed

        to_mean = (len(self.x) / self.rows) ** 0.5  # scikit-learn divides by the number of rows
        x, y = (self.x * to_mean).numpy(), (self.y * to_mean).numpy()
        gram = x.T @ x if len(x) == x.shape[1] else False  # it is slower with fewer rows
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # _polished removes the rest
            _, found, _ = enet_path(
                x, y, l1_ratio=l1_ratio, alphas=strengths.numpy(), precompute=gram, Xy=x.T @ y,
                tol=DUAL_GAP, max_iter=MOST_ROUNDS,
            )  # fmt: skip
        return torch.from_numpy(found.T.copy())

    def _polished(self, l1_ratio: float, strength: float, weights: Tensor) -> Tensor:
        """Refine weights to the exact fit for their signs; unchanged if the signs would change.

        For fixed signs s of the weights that are not 0 the objective is quadratic, with its minimum
        where (XᵀX + n·strength·(1 - l1_ratio)·I)·w = Xᵀy - n·strength·l1_ratio·s.
        """
        active = weights != 0
        signs, total = weights[active].sign(), self.rows * strength
        ridge = (total * (1 - l1_ratio)) ** 0.5 * torch.eye(len(signs), dtype=torch.float64)
        rows = torch.cat([self.x[:, active], ridge])
        target = torch.cat([self.y, torch.zeros(len(signs), dtype=torch.float64)])
        r = triangle(torch.cat([rows, target[:, None]], dim=1))
        system = r[:-1, :-1]
        if not system.diagonal().all():
            return weights
        pull = total * l1_ratio * signs[:, None]
        right = r[:-1, -1:] - torch.linalg.solve_triangular(system.mT, pull, upper=False)
        exact = torch.linalg.solve_triangular(system, right, upper=True)[:, 0]
        same = bool((exact.sign() == signs).all())
        return weights.masked_scatter(active, exact) if same else weights


def _strengths(rows: _Rows, penalty: Penalty, least: float) -> Tensor:
    """The strengths of the path, descending, evenly spaced on a logarithmic scale, and the
    configured one."""
    if penalty.share_of_sizes:
        most = float((rows.x.mT @ rows.y).abs().max()) / rows.rows / penalty.share_of_sizes
        ends = (most, least * most)
    else:
        largest = float(torch.linalg.matrix_norm(rows.x, 2)) ** 2 / rows.rows
        ends = (OF_RIDGE[0] * largest, OF_RIDGE[1] * largest)
    first, last = ends if ends[1] > 0 else (1.0, least)  # nothing to fit: any strength will do
    grid = torch.logspace(math.log10(first), math.log10(last), STEPS, dtype=torch.float64)
    if penalty.strength == "auto":
        return grid
    given = torch.tensor([penalty.strength], dtype=torch.float64)
    return torch.cat([grid, given]).unique().flip(0)


def _chosen(path: PenaltyPath, penalty: Penalty) -> int:
    """The index of the configured strength, of the one with the least mean error, or of the largest
    one whose mean error is within one standard error of the least."""
    if penalty.strength != "auto":
        return int((path.strengths == penalty.strength).int().argmax())
    means = path.mean_errors
    least = int(means.argmin())
    if penalty.rule == "minimum":
        return least
    return int((means <= means[least] + path.standard_errors[least]).int().argmax())
