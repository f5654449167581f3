"""What an optimizer minimises: an objective yields the steps of an epoch.

FactorObjective has the mean squared error of a linear model on all rows from the R factor.
RowObjective reads the rows: for mini-batches, for losses that R does not know, for any module.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from plumbline.config.schema import Split, Training
from plumbline.data.blocks import WEIGHT, Source
from plumbline.data.split import share_rows
from plumbline.errors import InputError
from plumbline.linear.problem import Problem, Standardizer
from plumbline.training.draws import Draws
from plumbline.training.losses import loss_of
from plumbline.training.model import parameters

# A step's share of the epoch's rows, and a closure as torch.optim's step takes one: it computes the
# loss on those rows, replaces the model's gradients by the loss's, and returns the loss.
Step = tuple[float, Callable[[], Tensor]]

# Features (n, d) and target (n, 1) or (n, classes) in training's dtype, and, if rows have weights,
# these over their mean, (n,). Each is a tensor of its own: a view of one matrix has other strides,
# and so a product other last bits than in a plain loop.
Rows = tuple[Tensor, ...]

# Rows that are kept or shuffled together take at most this much memory.
BUFFER_BYTES = 256 * 2**20


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
    """The mean of any loss over the training rows, read in batches of shuffled rows or all at once.

    The rows are read again every epoch, or kept if they fit into a buffer.

    Attributes:
        source: where the rows come from.
        split: which of them are held out.
        columns: names of the features, then of the target or the indicators of its classes.
        standardizer: from raw units to those that are trained on.
        training: the configuration's section.
        rows: the number of rows of each share: train, and validation if there is any.
        device: where training runs.
        mean_weights: of the rows of each share; empty: rows have no weights.
        drawing: entered whenever the model computes: what dropout draws from.
        draws: where that has come to; None: nothing is drawn.
        limits: the target's range over the training rows read so far, in raw units, which
            predictions are kept within; None: they are not.
    """

    source: Source
    split: Split
    columns: tuple[str, ...]
    standardizer: Standardizer
    training: Training
    rows: dict[str, int]
    device: str
    mean_weights: dict[str, float] = field(default_factory=dict)
    drawing: Callable[[], AbstractContextManager] = nullcontext
    draws: Draws | None = None
    limits: tuple[float, float] | None = None
    kept: dict[str, Rows] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._loss = loss_of(self.training, "none" if self.mean_weights else "mean")

    @property
    def capacity(self) -> int:
        """The number of rows that the buffer holds."""
        return max(1, BUFFER_BYTES // (8 * len(self.columns)))

    @property
    def unit(self) -> float:
        """What a loss of standardised targets is multiplied by to be in the target's own units."""
        power = 1 if self.training.loss in ("l1", "quantile", "poisson") else 2
        return self.standardizer.target_scale**power

    def steps(self, model: nn.Module, epoch: int) -> Iterable[Step]:
        """The steps of one epoch: one on all rows, or one on each mini-batch of shuffled rows."""
        if self.training.batch_size is None:
            yield self.unit, partial(self._on_all_rows, model)
            return
        random = torch.Generator().manual_seed((self.training.seed * 1_000_003 + epoch) % 2**63)
        unit = self.unit / self.rows["train"]
        for pool in self._pools(random):
            order = torch.randperm(len(pool[0]), generator=random)
            sizes = _batch_sizes(len(order), self.training.batch_size, model)
            for batch in zip(*(each[order].split(sizes) for each in pool), strict=True):
                yield len(batch[1]) * unit, partial(self._on_batch, model, batch)

    def steps_of_an_epoch(self) -> int:
        """Of pools that are full; the last batch of each may be smaller."""
        size, rows = self.training.batch_size, self.rows["train"]
        return 1 if size is None else max(1, -(-rows // size))

    @torch.no_grad()
    def validation_loss(self, model: nn.Module) -> float | None:
        if not self.rows.get("validation"):
            return None
        model.eval()
        total = 0.0
        for block in self.blocks("validation"):
            total += float(self._forward(model, block)) * len(block[1])
        return self.unit * total / self.rows["validation"]

    def _on_batch(self, model: nn.Module, rows: Rows) -> Tensor:
        model.zero_grad()
        loss = self._forward(model, rows)
        loss.backward()
        return loss

    def _on_all_rows(self, model: nn.Module) -> Tensor:
        """The mean loss over every row, its gradients added up block by block."""
        model.zero_grad()
        total = torch.zeros((), device=self.device)
        for block in self.blocks("train"):
            loss = self._forward(model, block) * (len(block[1]) / self.rows["train"])
            loss.backward()
            total = total + loss.detach()
        return total

    def _forward(self, model: nn.Module, rows: Rows) -> Tensor:
        """The mean loss of the model's predictions, weighted where rows are."""
        features, target, *weights = (each.to(self.device) for each in rows)
        with precision_of(self.training, self.device), self.drawing():
            predicted = model.members(features) if _is_ensemble(model) else model(features)
        if predicted.ndim == 3:  # each net learns by itself
            target = target.expand(len(predicted), -1, -1).flatten(0, 1)
            predicted = predicted.flatten(0, 1)
        loss = self._loss(predicted.to(target.dtype), target)
        return (weights[0] * loss.reshape(-1, len(weights[0]))).mean() if weights else loss

    def _pools(self, random: torch.Generator) -> Iterator[Rows]:
        """The training rows in pools of bounded size, made of files in random order."""
        order = torch.randperm(len(self.source.parts), generator=random).tolist()
        held: list[Rows] = []
        for block in self.blocks("train", [self.source.parts[i] for i in order]):
            held.append(block)
            if sum(len(each[0]) for each in held) >= self.capacity:
                yield _joined(held)
                held = []
        if held:
            yield _joined(held)

    def blocks(self, share: str, parts: Sequence[str] = ()) -> Iterator[Rows]:
        """A share's rows as they are trained on, from memory if they fit; of some parts, or all."""
        if self.rows[share] > self.capacity:
            yield from self._read(share, parts)
            return
        if share not in self.kept:
            self.kept[share] = _joined([*self._read(share)])
        yield self.kept[share]

    def _read(self, share: str, parts: Sequence[str] = ()) -> Iterator[Rows]:
        mean = self.mean_weights.get(share)
        columns = (*self.columns, WEIGHT) if mean else self.columns
        for read in share_rows(self.source, self.split, (share,), columns, parts):
            rows, weights = read.tensor_split([len(self.columns)], dim=1)
            if self.training.loss == "poisson" or self.limits:
                self._look_at_range(share, rows[:, -1])
            scaled = self.standardizer.apply(rows).to(tensor_type(self.training))
            features, target = scaled.tensor_split([len(self.standardizer.mean)], dim=1)
            of_mean_1 = [weights[:, 0].to(target) / mean] if mean else []
            yield features.contiguous(), target.contiguous(), *of_mean_1

    def _look_at_range(self, share: str, target: Tensor) -> None:
        """Refuse counts below 0; widen the limits by what training rows have."""
        if self.training.loss == "poisson":
            check_counts(self.columns[-1], target)
        if self.limits and share == "train":
            least, most = map(float, target.aminmax())
            self.limits = min(self.limits[0], least), max(self.limits[1], most)


def check_counts(column: str, counts: Tensor) -> None:
    """Refuse a target of counts of which some are below 0."""
    if (least := float(counts.min())) < 0:
        raise InputError(
            f"data.target: column '{column}' must hold counts >= 0 with training.loss poisson. "
            f"Got {least:g}."
        )


def _joined(blocks: Sequence[Rows]) -> Rows:
    """Blocks as one."""
    return tuple(map(torch.cat, zip(*blocks, strict=True)))


def _batch_sizes(rows: int, size: int, model: nn.Module) -> list[int]:
    """Of the batches that rows make. Batch norm fails on one row alone: a last batch of one row
    then joins the one before."""
    sizes = [size] * (rows // size) + [rows % size] * (rows % size > 0)
    if sizes[-1] == 1 < len(sizes) and any(isinstance(m, nn.BatchNorm1d) for m in model.modules()):
        sizes[-2:] = [size + 1]
    return sizes


def _is_ensemble(model: nn.Module) -> bool:
    return model.training and getattr(model, "ensemble", 1) > 1


def tensor_type(training: Training) -> torch.dtype:
    """What parameters and rows are; under autocast these are float32."""
    return torch.float32 if training.dtype == "bfloat16" else getattr(torch, training.dtype)


def precision_of(training: Training, device: str) -> AbstractContextManager:
    """What a model computes within: autocast for bfloat16."""
    if training.dtype != "bfloat16":
        return nullcontext()
    return torch.autocast(torch.device(device).type, torch.bfloat16)
