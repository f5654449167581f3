"""The losses of training, by the names of training.loss."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from plumbline.config.schema import Training


def quantile_loss(
    predicted: Tensor, target: Tensor, quantile: float, reduction: str = "mean"
) -> Tensor:
    """max(q·e, (q - 1)·e), e = target - predicted (Koenker and Bassett 1978)."""
    error = target - predicted
    losses = torch.maximum(quantile * error, (quantile - 1) * error)
    return losses.mean() if reduction == "mean" else losses


def loss_of(training: Training, reduction: str = "mean") -> Callable[[Tensor, Tensor], Tensor]:
    """The configured loss of predictions and targets of one shape: the mean, or "none": a row's."""
    losses: dict[str, Callable[..., Tensor]] = {
        "cross_entropy": functional.cross_entropy,  # of logits and indicators of classes
        "auto": functional.mse_loss,  # of a number
        "mse": functional.mse_loss,
        "huber": functional.huber_loss,
        "l1": functional.l1_loss,
        "poisson": functional.poisson_nll_loss,  # of logarithms and counts
        "quantile": partial(quantile_loss, quantile=training.quantile),
    }
    return partial(losses[training.loss], reduction=reduction)
