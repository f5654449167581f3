"""What an optimizer minimises: an objective yields the steps of an epoch.

FactorObjective has the mean squared error of all rows from the R factor. RowObjective reads the
rows, for mini-batches and for losses that R does not know.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from plumbline.config.schema import Config, Split, Training
from plumbline.data.blocks import Source, take_columns
from plumbline.data.split import held_out
from plumbline.linear.dataset import Dataset
from plumbline.linear.problem import Problem, Standardizer
from plumbline.training.model import parameters
from plumbline.training.plan import Plan

# A step's share of the epoch's rows, and a closure as torch.optim's step takes one: it computes the
# loss on those rows, replaces the model's gradients by the loss's, and returns the loss.
Step = tuple[float, Callable[[], Tensor]]

# Rows that are kept or shuffled together take at most this much memory.
BUFFER_BYTES = 256 * 2**20

LOSSES: dict[str, Callable[..., Tensor]] = {
    "mse": functional.mse_loss,
    "huber": functional.huber_loss,
    "l1": functional.l1_loss,
}


class Objective(Protocol):
    """What training minimises."""

    def steps(self, model: nn.Module, epoch: int) -> Iterable[Step]:
        """The steps of an epoch (from 1)."""


@dataclass(frozen=True)
class FactorObjective:
    """The mean squared error over all rows, one step an epoch, on the rows of R divided by √n.

    Attributes:
        matrix: (p + 1, p), where the bias multiplies R's own first column, not ones.
        target: (p + 1,).
    """

    matrix: Tensor
    target: Tensor

    @classmethod
    def of(cls, problem: Problem, dtype: str, device: str) -> "FactorObjective":
        scale, like = problem.rows**-0.5, {"device": device, "dtype": getattr(torch, dtype)}
        return cls((problem.matrix * scale).to(**like), (problem.target * scale).to(**like))

    def steps(self, model: nn.Linear, epoch: int) -> Iterable[Step]:
        return [(1.0, partial(self._step, model))]

    @torch.no_grad()
    def _step(self, model: nn.Linear) -> Tensor:
        """The gradient is 2 Mᵀ(Mθ - y), to the bit what autograd would find, without the time that
        recording and walking a graph takes."""
        forward = parameters(model)
        residual = torch.addmv(self.target, self.matrix, forward, beta=-1)  # matrix @ θ - target
        loss = residual @ residual
        backward = self.matrix.mT @ (2 * residual)
        if model.bias is not None:
            model.bias.grad, backward = backward[:1], backward[1:]
        model.weight.grad = backward[None]
        return loss


@dataclass
class RowObjective:
    """The mean of any loss over the training rows, read in batches of shuffled rows or all at once.

    The rows are read again every epoch, or kept if they fit into a buffer.

    Attributes:
        source: where the rows come from.
        split: which of them are held out.
        columns: names of the features, then of the target, in the model's order.
        standardizer: from raw features to those that are trained on.
        training: the configuration's section.
        rows: n, the number of training rows.
        device: where training runs.
    """

    source: Source
    split: Split
    columns: tuple[str, ...]
    standardizer: Standardizer
    training: Training
    rows: int
    device: str
    kept: list[Tensor] | None = field(default=None, init=False)

    @property
    def capacity(self) -> int:
        """The number of rows that the buffer holds."""
        return max(1, BUFFER_BYTES // (8 * len(self.columns)))

    def steps(self, model: nn.Module, epoch: int) -> Iterable[Step]:
        """The steps of one epoch: one on all rows, or one on each mini-batch of shuffled rows."""
        if self.training.batch_size is None:
            yield 1.0, partial(self._on_all_rows, model)
            return
        random = torch.Generator().manual_seed((self.training.seed * 1_000_003 + epoch) % 2**63)
        for pool in self._pools(random):
            shuffled = pool[torch.randperm(len(pool), generator=random)]
            for rows in shuffled.split(self.training.batch_size):
                yield len(rows) / self.rows, partial(self._on_batch, model, rows)

    def _on_batch(self, model: nn.Module, rows: Tensor) -> Tensor:
        model.zero_grad()
        loss = self._forward(model, rows)
        loss.backward()
        return loss

    def _on_all_rows(self, model: nn.Module) -> Tensor:
        """The mean loss over every row, its gradients added up block by block."""
        model.zero_grad()
        total = torch.zeros((), device=self.device)
        for block in self._blocks(self.source.parts):
            loss = self._forward(model, block) * (len(block) / self.rows)
            loss.backward()
            total = total + loss.detach()
        return total

    def _forward(self, model: nn.Module, rows: Tensor) -> Tensor:
        """The mean loss of the model's predictions for (n, d + 1) rows, the target the last."""
        rows = rows.to(self.device)
        features, target = rows[:, :-1], rows[:, -1:]
        predicted = model(features)
        return LOSSES[self.training.loss](predicted, target)

    def _pools(self, random: torch.Generator) -> Iterator[Tensor]:
        """The rows in pools of bounded size, made of files in random order."""
        order = torch.randperm(len(self.source.parts), generator=random).tolist()
        held: list[Tensor] = []
        for block in self._blocks([self.source.parts[i] for i in order]):
            held.append(block)
            if sum(map(len, held)) >= self.capacity:
                yield torch.cat(held)
                held = []
        if held:
            yield torch.cat(held)

    def _blocks(self, parts: Iterable[str]) -> Iterator[Tensor]:
        """Standardised training rows, (k, d + 1) in training's dtype, from memory if they fit."""
        if self.rows > self.capacity:
            yield from (rows for part in parts for rows in self._read(part))
            return
        if self.kept is None:
            read = [rows for part in self.source.parts for rows in self._read(part)]
            self.kept = [torch.cat(read)]
        yield from self.kept

    def _read(self, part: str) -> Iterator[Tensor]:
        for block in self.source.blocks(part):
            rows = take_columns(block.rows[1:].mT, block.columns, self.columns)
            excluded = held_out(self.split, part, block)
            rows = rows if excluded is None else rows[~excluded]
            rows[:, :-1] = (rows[:, :-1] - self.standardizer.mean) / self.standardizer.scale
            if len(rows):
                yield rows.to(getattr(torch, self.training.dtype))


def objective_of(data: Dataset, config: Config, plan: Plan, device: str) -> Objective:
    """The R factor if it has the loss of every step, otherwise the rows themselves."""
    training, summary = config.training, data.summary
    if training.compressible:
        return FactorObjective.of(plan.problem, training.dtype, device)
    columns, rows = summary.columns, summary.train.rows
    return RowObjective(
        data.source, config.data, columns, plan.standardizer, training, rows, device
    )
