"""What an optimizer minimises: an objective yields the steps of an epoch.

FactorObjective has the mean squared error of a linear model on all rows from the R factor.
RowObjective reads the rows: for mini-batches, for losses that R does not know, for any module.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from plumbline.config.schema import Training
from plumbline.linear.problem import Problem
from plumbline.training.device import Draws
from plumbline.training.model import loss_of, parameters
from plumbline.training.rows import Drawn, Rows, TrainingRows

# A step's share of the epoch's rows, and a closure as torch.optim's step takes one: it computes the
# loss on those rows, replaces the model's gradients by the loss's, and returns the loss.
Step = tuple[float, Callable[[], Tensor]]

JUDGED_ROWS = 65_536  # that the validation loss takes at once


class Objective(Protocol):
    """What training minimises.

    Attributes:
        draws: where its model's random draws have come to; None: it has none.
    """

    draws: Draws | None

    def steps(self, model: nn.Module, epoch: int) -> Iterable[Step]:
        """The steps of an epoch (from 1)."""

    def steps_of_an_epoch(self) -> int:
        """How many there are."""

    def validation_loss(self, model: nn.Module) -> float | None:
        """The loss on the rows that are held out for it; None if none are."""


@dataclass(frozen=True)
class FactorObjective:
    """The mean squared error over all rows, one step an epoch, on the rows of R divided by √n.

    Attributes:
        matrix: (p + 1, p), where the bias multiplies R's own first column, not ones.
        target: (p + 1,).
        validation: the same of the rows held out for the validation loss; None if there are none.
    """

    matrix: Tensor
    target: Tensor
    validation: "FactorObjective | None" = None
    draws: None = None

    @classmethod
    def of(
        cls, problem: Problem, dtype: str, device: str, validation: Problem | None = None
    ) -> "FactorObjective":
        scale, like = problem.rows**-0.5, {"device": device, "dtype": getattr(torch, dtype)}
        other = validation and cls.of(validation, dtype, device)
        return cls((problem.matrix * scale).to(**like), (problem.target * scale).to(**like), other)

    def steps(self, model: nn.Linear, epoch: int) -> Iterable[Step]:
        return [(1.0, partial(self._step, model))]

    def steps_of_an_epoch(self) -> int:
        return 1

    @torch.no_grad()
    def validation_loss(self, model: nn.Linear) -> float | None:
        if self.validation is None:
            return None
        return float(self.validation._residual(model).square().sum())

    @torch.no_grad()
    def _step(self, model: nn.Linear) -> Tensor:
        """The gradient is 2 Mᵀ(Mθ - y), to the bit what autograd would find, without the time that
        recording and walking a graph takes."""
        residual = self._residual(model)
        loss = residual @ residual
        backward = self.matrix.mT @ (2 * residual)
        if model.bias is not None:
            model.bias.grad, backward = backward[:1], backward[1:]
        model.weight.grad = backward[None]
        return loss

    def _residual(self, model: nn.Linear) -> Tensor:
        """matrix @ θ - target."""
        return torch.addmv(self.target, self.matrix, parameters(model), beta=-1)


@dataclass
class RowObjective:
    """The mean of any loss over the training rows, in batches of shuffled rows or all at once.

    Attributes:
        rows: where they are.
        draws: entered whenever the model computes, if it draws anything, as dropout does.
        blame: entered then, too: what puts the model's own errors into words.
    """

    rows: TrainingRows
    draws: Draws | None = None
    blame: Callable[[], AbstractContextManager] = nullcontext

    def __post_init__(self) -> None:
        self.training, self.device = self.rows.training, self.rows.device
        self.counts = self.rows.counts
        self._loss = loss_of(self.training, "none" if self.rows.mean_weights else "mean")

    @property
    def unit(self) -> float:
        """What a loss of standardised targets is multiplied by to be in the target's own units."""
        power = 1 if self.training.loss in ("l1", "quantile", "poisson") else 2
        return self.rows.standardizer.target_scale**power

    def steps(self, model: nn.Module, epoch: int) -> Iterable[Step]:
        """The steps of one epoch: one on all rows, or one on each mini-batch of shuffled rows."""
        if self.training.batch_size is None:
            yield self.unit, partial(self._on_all_rows, model)
            return
        random = torch.Generator().manual_seed((self.training.seed * 1_000_003 + epoch) % 2**63)
        unit = self.unit / self.counts["train"]
        for size, batch in self._batches(model, random):
            yield size * unit, partial(self._on_batch, model, batch, size)

    def steps_of_an_epoch(self) -> int:
        """How many there are; the last one may have fewer rows, or one more."""
        size, rows = self.training.batch_size, self.counts["train"]
        return 1 if size is None else max(1, -(-rows // size))

    @property
    def limits(self) -> tuple[float, float] | None:
        """The range of the training rows' target that predictions are kept within."""
        return self.rows.limits

    @torch.no_grad()
    def validation_loss(self, model: nn.Module) -> float | None:
        if not self.counts.get("validation"):
            return None
        model.eval()
        total = 0.0
        for block in self._blocks("validation"):
            for some in zip(*(each.split(JUDGED_ROWS) for each in block), strict=True):
                if rows := len(some[1]):
                    total += float(self._forward(model, some)) * rows
        return self.unit * total / self.counts["validation"]

    def _blocks(self, share: str) -> Iterator[Rows]:
        """A share's rows in the order of the files."""
        return self.rows.blocks(share)

    def _batches(self, model: nn.Module, random: torch.Generator) -> Iterator[tuple[int, Rows]]:
        """Mini-batches of shuffled rows, each after its size."""

        def drawn() -> Iterator[Drawn]:
            for pool in self.rows.pools(random):
                order = torch.randperm(len(pool[0]), generator=random)
                yield pool, order, batch_sizes(len(order), self.training.batch_size, model)

        for batch in self.rows.shuffled(drawn()):
            yield len(batch[1]), batch

    def _on_batch(self, model: nn.Module, rows: Rows, size: int) -> Tensor:
        model.zero_grad()
        return self._add_gradients(model, rows, size)

    def _on_all_rows(self, model: nn.Module) -> Tensor:
        """The mean loss over every row, its gradients added up block by block."""
        model.zero_grad()
        total = torch.zeros((), device=self.device)
        for block in self._blocks("train"):
            total = total + self._add_gradients(model, block, self.counts["train"])
        return total

    def _add_gradients(self, model: nn.Module, rows: Rows, size: int) -> Tensor:
        """Add the gradients of what these rows are of the mean loss of `size` rows; returns it."""
        loss = self._forward(model, rows)
        if len(rows[1]) != size:
            loss = loss * (len(rows[1]) / size)
        loss.backward()
        return loss.detach()

    def _forward(self, model: nn.Module, rows: Rows) -> Tensor:
        """The mean loss of the model's predictions, weighted where rows are."""
        features, target, *weights = (each.to(self.device) for each in rows)
        drawing = self.draws or nullcontext
        with precision_of(self.training, self.device), self.blame(), drawing():
            predicted = model.members(features) if _is_ensemble(model) else model(features)
        if predicted.ndim == 3:  # each net learns by itself
            target = target.expand(len(predicted), -1, -1).flatten(0, 1)
            predicted = predicted.flatten(0, 1)
        loss = self._loss(predicted.to(target.dtype), target)
        if not weights:
            return loss
        nets = loss.numel() // max(1, len(weights[0]))
        return (weights[0] * loss.reshape(nets, len(weights[0]))).mean()


def batch_sizes(rows: int, size: int, model: nn.Module) -> list[int]:
    """Of the batches that rows make. Batch norm fails on one row alone: a last batch of one row
    then joins the one before."""
    sizes = [size] * (rows // size) + [rows % size] * (rows % size > 0)
    if sizes[-1] == 1 < len(sizes) and any(isinstance(m, nn.BatchNorm1d) for m in model.modules()):
        sizes[-2:] = [size + 1]
    return sizes


def _is_ensemble(model: nn.Module) -> bool:
    return model.training and getattr(model, "ensemble", 1) > 1


def precision_of(training: Training, device: str) -> AbstractContextManager:
    """What a model computes within: autocast for bfloat16."""
    if training.dtype != "bfloat16":
        return nullcontext()
    return torch.autocast(torch.device(device).type, torch.bfloat16)
