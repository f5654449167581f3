"""One training in several processes: each computes a part of every batch, and all take the step.

Whoever starts the processes (Ray Train, torchrun) makes torch's process group first; each of them
then trains the same experiment. The result equals that of one process, up to rounding.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice, repeat

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from plumbline.data.batches import BLOCK_ROWS
from plumbline.errors import InputError
from plumbline.training.device import Draws
from plumbline.training.model import Limits
from plumbline.training.objectives import Batch, Loss, RowObjective
from plumbline.training.rows import SHARES, Drawn, Rows, in_pieces


def in_a_group() -> bool:
    """Whether this process is one of several that train together."""
    return dist.is_available() and dist.is_initialized()


def of_all(value: float, operation: dist.ReduceOp.RedOpType = dist.ReduceOp.SUM) -> float:
    """The sum, minimum or maximum of the processes' values; in one process the value itself."""
    if not in_a_group():
        return value
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    found = torch.tensor(value, dtype=torch.float64, device=device)
    dist.all_reduce(found, operation)
    return float(found)


@dataclass
class DataParallel(RowObjective):
    """A RowObjective whose batches the processes of torch's group share.

    Each process computes the rows of a batch that are in its own files. If its rows fit into its
    training.memory_mb, these are consecutive files, which it reads once. Otherwise the files are
    dealt out anew in every epoch, in the order in which one process reads them, so that each
    process has about as many rows of every pool. If all files, or those of a pool, are fewer than
    the processes, each process reads all files and computes an equal part of each batch.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.rank, self.processes = dist.get_rank(), dist.get_world_size()
        self._parallel: Callable[[Rows], Tensor] | None = None
        self._parts = self.rows.parts
        self._kept = self._reads_own = False
        files, train = len(self._parts), self.counts["train"]
        if files < self.processes:
            return
        first, end = (files * each // self.processes for each in (self.rank, self.rank + 1))
        counts = dict(zip(SHARES, self.rows.part_rows[first:end].sum(0).tolist(), strict=True))
        own = replace(self.rows, parts=self._parts[first:end], counts=counts)
        self._kept = bool(of_all(own.fits("train"), dist.ReduceOp.MIN))
        pooled = not self._kept and self.training.batch_size is not None
        if not pooled or own.pool_rows * files >= self.processes * train:
            self.rows, self._reads_own = own, True
            self._first = int(own.part_rows[:first, 0].sum())

    def batches(self, model: nn.Module, epoch: int, done: int = 0) -> Iterable[Batch]:
        """Each step draws anew, by its number, so that a process has no state to resume from."""
        if self._parallel is None:
            self._parallel = wrapped(model, self._mean_loss, self.device)
        for number, batch in enumerate(super().batches(model, epoch, done), done):
            if self.draws:  # the hash of integers is the same in every process
                seed = hash((self.training.seed, self.rank, epoch, number)) % 2**63
                self.draws = Draws(seed, self.device)
            yield batch

    def loss(self, model: nn.Module, rows: Rows, size: int) -> Loss:
        assert self._parallel
        return _PartOfLoss(self._parallel(rows), len(rows[1]) / size, self.processes)

    @property
    def limits(self) -> Limits:
        if self.rows.limits is None:
            return None
        least, most = self.rows.limits
        return of_all(least, dist.ReduceOp.MIN), of_all(most, dist.ReduceOp.MAX)

    def validation_loss(self, model: nn.Module) -> float | None:
        own = super().validation_loss(model)
        return None if own is None else of_all(own)

    def _blocks(self, share: str) -> Iterator[Rows]:
        blocks = super()._blocks(share)
        if not self._reads_own:
            return map(self._part, blocks)
        if self._kept or share == "validation":
            return blocks
        # gradients are summed over the processes block by block, so all need the same number
        pieces = in_pieces(self.rows.counts[share], self.rows.pool_rows)
        most = of_all(sum(-(-rows // BLOCK_ROWS) for rows in pieces), dist.ReduceOp.MAX)
        return islice(chain(blocks, repeat(self.rows.empty(0))), int(most))

    def _part(self, rows: Rows) -> Rows:
        """This process's part of rows that every process has read."""
        return tuple(each.tensor_split(self.processes)[self.rank] for each in rows)

    def _batches(
        self, model: nn.Module, random: torch.Generator, done: int
    ) -> Iterator[tuple[int, Rows]]:
        if not self._reads_own:
            for size, batch in super()._batches(model, random, done):
                yield size, self._part(batch)
            return
        order = torch.randperm(len(self._parts), generator=random)
        rows = self.counts["train"]
        pools = [rows] if self._kept else in_pieces(rows, self.rows.pool_rows)
        sizes = self._batch_sizes(pools, model)

        def drawn() -> Iterator[Drawn]:
            for (pool, own), of_pool in zip(self._pools(order), sizes, strict=True):
                place = torch.randperm(len(own), generator=random)
                here = own[place]
                of_own = [int(each.sum()) for each in here.split(of_pool)]
                yield pool, (own.cumsum(0) - 1)[place[here]], of_own

        batches = zip(chain.from_iterable(sizes), self.rows.shuffled(drawn()), strict=True)
        yield from islice(batches, done, None)

    def _pools(self, order: Tensor) -> Iterator[tuple[Rows, Tensor]]:
        """Yield this process's rows of each pool that one process draws from, and which rows of
        that pool they are: (rows of the pool,) bool.

        Args:
            order: of the files in this epoch.
        """
        if self._kept:
            (rows,) = self.rows.blocks("train")
            own = torch.zeros(self.counts["train"], dtype=torch.bool)
            own[self._first : self._first + len(rows[0])] = True
            yield rows, own
            return
        size, ends = self.rows.pool_rows, self.rows.ends_in(order)
        own_files = torch.arange(len(order)) % self.processes == self.rank
        starts = range(0, self.counts["train"], size)

        def of_files(start: int) -> Tensor:
            """The number of rows of each file in the pool that starts with this row: (files,)."""
            return ends.clamp(start, start + size).diff(prepend=ends.new_tensor([start]))

        sizes = (int(of_files(start)[own_files].sum()) for start in starts)
        pools = self.rows.stream("train", [self._parts[i] for i in order[own_files]], sizes)
        for start, pool in zip(starts, pools, strict=True):
            yield pool, own_files.repeat_interleave(of_files(start))


class _PartOfLoss:
    """This process's part of a batch's loss, whose gradients and value become those of the whole.

    DistributedDataParallel takes the mean of the processes' gradients, so each loss is weighted by
    its share of the batch's rows and by the number of processes.
    """

    def __init__(self, mean: Tensor, share: float, processes: int) -> None:
        self._weighted = mean * (share * processes)
        # the mean of no rows is NaN
        self._value = mean.detach() * share if share else torch.zeros_like(mean)

    def backward(self) -> None:
        summed = dist.all_reduce(self._value, async_op=True)
        self._weighted.backward()
        summed.wait()

    def detach(self) -> Tensor:
        return self._value


class _Loss(nn.Module):
    """A model followed by its loss: DistributedDataParallel wraps what is called."""

    def __init__(self, model: nn.Module, loss: Callable[[nn.Module, Rows], Tensor]) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, rows: Rows) -> Tensor:
        return self.loss(self.model, rows)


def wrapped(
    model: nn.Module, loss: Callable[[nn.Module, Rows], Tensor], device: str
) -> DistributedDataParallel:
    """A model and its loss whose gradients are the mean of the processes'.

    Raises:
        InputError: it has batch norm, whose statistics torch shares between processes on GPUs only.
    """
    normalizes = any(isinstance(each, _BatchNorm) for each in model.modules())
    if normalizes and torch.device(device).type == "cpu":
        raise InputError(
            "model.file: batch norm needs the statistics of whole batches, which torch shares "
            "between workers on GPUs only. Use nn.LayerNorm, or leave ray.workers out."
        )
    whole = nn.SyncBatchNorm.convert_sync_batchnorm(_Loss(model, loss))
    # a user's module may hold parameters that it does not use
    return DistributedDataParallel(whole, find_unused_parameters=True)
