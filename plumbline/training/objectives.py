"""What an optimizer minimises: an objective yields the batches of an epoch, and the loss on each.

FactorObjective computes the mean squared error of a linear model over all rows from the R factor.
RowObjective reads the rows: for mini-batches, for other losses, and for any module.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from plumbline.config.schema import Training, without_auto
from plumbline.linear.problem import Problem
from plumbline.training.device import Draws
from plumbline.training.model import Limits, loss_of, parameters
from plumbline.training.rows import Drawn, Rows, TrainingRows, in_pieces

VALIDATION_ROWS = 65_536  # that the validation loss is computed on at once


class Batch(NamedTuple):
    """The rows of one step.

    Attributes:
        blocks: the rows, whose losses add up; of several processes, this one's part of them. Can be
            iterated over more than once.
        size: how many rows the step's loss is the mean of.
        share: what the step's loss counts for in the epoch's loss.
    """

    blocks: Iterable[Rows]
    size: int
    share: float


class Loss(Protocol):
    """A loss of which the gradient is not computed yet: a tensor, or what works like one."""

    def backward(self) -> object:
        """Add the gradients to those of the model's parameters."""

    def detach(self) -> Tensor:
        """The value, a scalar; call it after `backward`."""


class Objective(Protocol):
    """What training minimises; each class says of which `model`."""

    @property
    def draws(self) -> Draws | None:
        """The state of the random numbers that its model draws; None: it draws none."""

    @property
    def steps_per_epoch(self) -> int:
        """The number of batches in an epoch."""

    def batches(self, model: Any, epoch: int, done: int = 0) -> Iterable[Batch]:
        """The batches of an epoch, which is counted from 1, but for the first that are done."""

    def loss(self, model: Any, rows: Rows, size: int) -> Loss:
        """What some rows add to the mean loss of a batch of `size` rows."""

    def validation_loss(self, model: Any) -> float | None:
        """The mean loss on the rows that are held out for it; None if there are none."""


@dataclass(frozen=True)
class FactorObjective:
    """The mean squared error of a linear model over all rows, in one step per epoch.

    The rows of R divided by √n have the same loss as all n rows, and p + 1 of them are enough.

    Attributes:
        rows: a matrix, (p + 1, p), in which the bias multiplies R's own first column instead of
            ones, and a target, (p + 1,).
        validation: the same for the rows held out for the validation loss; None if there are none.
    """

    rows: Rows
    validation: Rows | None = None
    draws: None = None
    steps_per_epoch: int = 1

    @classmethod
    def of(
        cls, problem: Problem, dtype: str, device: str, validation: Problem | None = None
    ) -> "FactorObjective":
        """The objective of a problem, in a precision and on a device."""

        def scaled(problem: Problem) -> Rows:
            like, scale = {"device": device, "dtype": getattr(torch, dtype)}, problem.rows**-0.5
            return (problem.matrix * scale).to(**like), (problem.target * scale).to(**like)

        return cls(scaled(problem), scaled(validation) if validation else None)

    def batches(self, model: nn.Linear, epoch: int, done: int = 0) -> Iterable[Batch]:
        return [Batch([self.rows], 1, 1.0)][done:]

    def loss(self, model: nn.Linear, rows: Rows, size: int) -> Loss:
        return FactorLoss(model, rows[0], _residual(model, rows))

    def validation_loss(self, model: nn.Linear) -> float | None:
        if self.validation is None:
            return None
        return float(_residual(model, self.validation).square().sum())


class FactorLoss(NamedTuple):
    """‖residual‖², where residual = matrix @ θ - target, with its gradient written out.

    It equals autograd's to the last bit, without the time that recording a graph takes.
    """

    model: nn.Linear
    matrix: Tensor
    residual: Tensor

    def backward(self) -> None:
        """The gradient is 2 matrixᵀ residual."""
        gradient = self.matrix.mT @ (2 * self.residual)
        if self.model.bias is not None:
            self.model.bias.grad, gradient = gradient[:1], gradient[1:]
        self.model.weight.grad = gradient[None]

    def detach(self) -> Tensor:
        return self.residual @ self.residual


@torch.no_grad()
def _residual(model: nn.Linear, rows: Rows) -> Tensor:
    """matrix @ θ - target: (p + 1,)."""
    matrix, target = rows
    return torch.addmv(target, matrix, parameters(model), beta=-1)


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
    blame: Callable[[], AbstractContextManager[object]] = nullcontext

    def __post_init__(self) -> None:
        self.training, self.device = self.rows.training, self.rows.device
        self.counts = self.rows.counts
        self._loss = loss_of(self.training, "none" if self.rows.mean_weights else "mean")

    @property
    def unit(self) -> float:
        """What a loss of standardised targets is multiplied by to be in the target's own units."""
        power = 1 if self.training.loss in ("l1", "quantile", "poisson") else 2
        return self.rows.standardizer.target_scale**power

    @property
    def steps_per_epoch(self) -> int:
        """The last step may have fewer rows than batch_size, or one more."""
        size, rows = without_auto(self.training.batch_size), self.counts["train"]
        return 1 if size is None else max(1, -(-rows // size))

    def batches(self, model: nn.Module, epoch: int, done: int = 0) -> Iterable[Batch]:
        """One batch of all rows, or mini-batches of shuffled rows, by seed and epoch."""
        rows = self.counts["train"]
        if self.training.batch_size is None:
            yield from [Batch(_AllRows(self), rows, self.unit)][done:]
            return
        random = torch.Generator().manual_seed((self.training.seed * 1_000_003 + epoch) % 2**63)
        unit = self.unit / rows
        for size, some in self._batches(model, random, done):
            yield Batch([some], size, size * unit)

    def loss(self, model: nn.Module, rows: Rows, size: int) -> Loss:
        mean = self._mean_loss(model, rows)
        return mean if len(rows[1]) == size else mean * (len(rows[1]) / size)

    @property
    def limits(self) -> Limits:
        """The range of the training rows' target that predictions are kept within."""
        return self.rows.limits

    def state_dict(self) -> dict[str, Limits]:
        """The limits: rows of batches that are done are not read again to find them."""
        return {"limits": self.rows.limits}

    def load_state_dict(self, state: Mapping[str, Limits]) -> None:
        self.rows.limits = state["limits"]

    @torch.no_grad()
    def validation_loss(self, model: nn.Module) -> float | None:
        if not self.counts.get("validation"):
            return None
        model.eval()
        total = 0.0
        for block in self._blocks("validation"):
            for some in zip(*(each.split(VALIDATION_ROWS) for each in block), strict=True):
                if rows := len(some[1]):
                    total += float(self._mean_loss(model, some)) * rows
        return self.unit * total / self.counts["validation"]

    def _blocks(self, share: str) -> Iterator[Rows]:
        """A share's rows in the order of the files."""
        return self.rows.blocks(share)

    def _batches(
        self, model: nn.Module, random: torch.Generator, done: int
    ) -> Iterator[tuple[int, Rows]]:
        """Mini-batches of shuffled rows, each after its size; pools that are done are not read."""
        sizes, skipped = self._batch_sizes(self.rows.pool_sizes, model), 0
        while skipped < len(sizes) - 1 and done >= len(sizes[skipped]):
            done, skipped = done - len(sizes[skipped]), skipped + 1

        def drawn() -> Iterator[Drawn]:
            pools = self.rows.pools(random, skipped)
            for of_pool in sizes[:skipped]:  # the generator goes on as if they were read
                torch.randperm(sum(of_pool), generator=random)
            for pool, of_pool in zip(pools, sizes[skipped:], strict=True):
                yield pool, torch.randperm(len(pool[0]), generator=random), of_pool

        for batch in islice(self.rows.shuffled(drawn()), done, None):
            yield len(batch[1]), batch

    def _batch_sizes(self, pools: Iterable[int], model: nn.Module) -> list[list[int]]:
        """The sizes of the mini-batches that each pool makes, from its number of rows. Batch norm
        fails on one row alone: a last batch of one row then joins the one before."""
        size = without_auto(self.training.batch_size)
        assert size is not None  # otherwise there are no mini-batches
        normalizes = any(isinstance(each, nn.BatchNorm1d) for each in model.modules())
        found = [in_pieces(rows, size) for rows in pools]
        for sizes in found:
            if normalizes and sizes[-1] == 1 < len(sizes):
                sizes[-2:] = [size + 1]
        return found

    def _mean_loss(self, model: nn.Module, rows: Rows) -> Tensor:
        """The mean loss of the model's predictions, weighted where rows are."""
        features, target, *weights = (each.to(self.device) for each in rows)
        drawing = self.draws or nullcontext
        with precision_of(self.training, self.device), self.blame(), drawing():
            predicted = model(features)
        if predicted.ndim == 3:  # of several nets, each of which learns by itself
            target = target.expand(len(predicted), -1, -1).flatten(0, 1)
            predicted = predicted.flatten(0, 1)
        loss = self._loss(predicted.to(target.dtype), target)
        if not weights:
            return loss
        nets = loss.numel() // max(1, len(weights[0]))
        return (weights[0] * loss.reshape(nets, len(weights[0]))).mean()


@dataclass
class _AllRows:
    """All training rows block by block, which are read again by every iteration if not kept."""

    objective: RowObjective

    def __iter__(self) -> Iterator[Rows]:
        return self.objective._blocks("train")


def precision_of(training: Training, device: str) -> AbstractContextManager[object]:
    """What a model computes within: autocast for bfloat16."""
    if training.dtype != "bfloat16":
        return nullcontext()
    return torch.autocast(torch.device(device).type, torch.bfloat16)
