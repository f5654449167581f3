"""The most likely linear model: logistic for classes, Poisson for counts."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from plumbline.data.blocks import WEIGHT
from plumbline.errors import InputError
from plumbline.linear.dataset import Dataset
from plumbline.linear.families import logistic, poisson
from plumbline.linear.least_squares import least_squares
from plumbline.linear.newton import LikelihoodFit, LikelihoodProblem, maximize_likelihood
from plumbline.linear.problem import Standardizer
from plumbline.training.model import Exp
from plumbline.training.rows import check_counts
from plumbline.training.trained import OnEpoch, Status, Trained


def train_by_newton(data: Dataset, memory_mb: float, on_epoch: OnEpoch) -> Trained:
    """Find the most likely parameters; each step is an epoch.

    Raises:
        InputError: counts are below 0, or all 0.
    """
    fit = most_likely(data, memory_mb, on_epoch=on_epoch)
    status = Status.STOPPED if fit.problem else Status.COMPLETED
    curves = {"loss": [*fit.losses[:-1]]}
    return Trained(module_of(fit), curves, status, fit.problem, likelihood=fit)


def most_likely(
    data: Dataset,
    memory_mb: float,
    validation: bool = False,
    on_epoch: OnEpoch = lambda epoch, loss: None,
) -> LikelihoodFit:
    """Fit logistic regression if the target has classes, otherwise Poisson regression.

    Rows are read again for every step, or kept if they fit into the memory.

    Args:
        validation: fit on the rows held out for validation, too, not on the training rows alone.
    """
    factor = data.summary.train_and_validation if validation else data.summary.train
    shares = ("train", "validation") if validation else ("train",)
    columns = (*data.encoding.features, *data.outputs, WEIGHT)
    classes, mean = data.encoding.classes, float(factor.means[-1])
    if not classes and mean <= 0:
        raise InputError(
            f"data.target: '{data.target}' must hold counts >= 0, some above 0, in the training "
            f"rows with training.optimizer newton. Got a mean of {mean:g}."
        )

    def read(part: str) -> Iterable[Tensor]:
        rows = data.rows(shares, columns, (part,))
        return rows if classes else _counts(data.target, rows)

    problem = LikelihoodProblem(
        data.encoding.features,
        logistic(classes) if classes else poisson(mean),
        Standardizer.of(factor, bias=True, standardize=True),
        frozenset(least_squares(factor).equals),
        read,
        data.source.parts,
        data.map_parts,
        keep=8 * len(columns) * factor.rows <= memory_mb * 2**20,
    )
    return maximize_likelihood(problem, on_epoch)


def _counts(target: str, blocks: Iterable[Tensor]) -> Iterator[Tensor]:
    """Yield the same rows, but refuse a target, the last column but one, that is below 0."""
    for rows in blocks:
        check_counts(target, rows[:, -2])
        yield rows


def module_of(fit: LikelihoodFit) -> nn.Module:
    """A module from raw features, (n, d) float64, to logits, (n, K), 0 for the first class; without
    classes to the expected count, (n, 1)."""
    parameters = fit.parameters
    if fit.classes:
        parameters = nn.functional.pad(parameters, (0, 0, 1, 0))
    d, outputs = len(fit.names), len(parameters)
    layer = skip_init(nn.Linear, d, outputs, dtype=torch.float64).requires_grad_(False).eval()
    layer.weight[:], layer.bias[:] = parameters[:, 1:], parameters[:, 0]
    return layer if fit.classes else nn.Sequential(layer, Exp())
