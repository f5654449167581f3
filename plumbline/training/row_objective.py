"""Training on the rows themselves: for mini-batches and for losses that R does not know.

The rows are streamed every epoch through a bounded buffer, or kept where they fit into it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from plumbline.config.schema import Config, Split, Training
from plumbline.data.blocks import Source, take_columns
from plumbline.data.split import held_out
from plumbline.linear.dataset import Dataset
from plumbline.linear.problem import Units
from plumbline.training.loop import Batch, Plan

# Rows that are kept or shuffled together take at most this much memory.
BUFFER_BYTES = 256 * 2**20

LOSSES: dict[str, Callable[..., Tensor]] = {
    "mse": functional.mse_loss,
    "huber": functional.huber_loss,
    "l1": functional.l1_loss,
}


@dataclass
class RowStream:
    """The training rows, in training units.

    Attributes:
        source: where the rows come from.
        split: which of them are held out.
        columns: names of the features, then of the target, in the model's order.
        units: from raw to training units.
        training: the configuration's section.
        rows: n, how many training rows there are.
        device: where training runs.
    """

    source: Source
    split: Split
    columns: tuple[str, ...]
    units: Units
    training: Training
    rows: int
    device: str
    kept: list[Tensor] | None = field(default=None, init=False)

    @property
    def capacity(self) -> int:
        """How many rows the buffer holds."""
        return max(1, BUFFER_BYTES // (8 * len(self.columns)))

    def batches(self, model: nn.Linear, epoch: int) -> Iterable[Batch]:
        """The steps of one epoch: one on all rows, or one on each mini-batch of shuffled rows."""
        if self.training.batch_size is None:
            yield 1.0, lambda: self._all_rows(model)
            return
        random = torch.Generator().manual_seed((self.training.seed * 1_000_003 + epoch) % 2**63)
        for pool in self._pools(random):
            shuffled = pool[torch.randperm(len(pool), generator=random)]
            for rows in shuffled.split(self.training.batch_size):
                yield len(rows) / self.rows, lambda rows=rows: self._mean(model, rows)

    def _all_rows(self, model: nn.Linear) -> Tensor:
        """The mean loss over every row, its gradients added up block by block."""
        model.zero_grad()
        total = torch.zeros((), device=self.device)
        for block in self._blocks(self.source.parts):
            share = self._loss(model, block) * (len(block) / self.rows)
            share.backward()
            total = total + share.detach()
        return total

    def _mean(self, model: nn.Linear, rows: Tensor) -> Tensor:
        model.zero_grad()
        loss = self._loss(model, rows)
        loss.backward()
        return loss

    def _loss(self, model: nn.Linear, rows: Tensor) -> Tensor:
        rows = rows.to(self.device)
        return LOSSES[self.training.loss](model(rows[:, :-1]), rows[:, -1:])

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
        """Training rows as (k, d + 1) in training units and dtype, from memory where they fit."""
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
            rows[:, :-1] = (rows[:, :-1] - self.units.mean) / self.units.scale
            if len(rows):
                yield rows.to(getattr(torch, self.training.dtype))


def row_batches(
    data: Dataset, config: Config, plan: Plan, device: str
) -> Callable[[nn.Linear, int], Iterable[Batch]] | None:
    """The steps of an epoch on the rows themselves; None where R has the loss of every step."""
    if config.training.compressible:
        return None
    rows = data.summary.train.rows
    columns, training = data.summary.columns, config.training
    return RowStream(data.source, config.data, columns, plan.units, training, rows, device).batches
