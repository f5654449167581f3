"""One training in several processes: each computes a part of every batch, and all take the step.

Whoever starts the processes (Ray Train, torchrun) makes torch's process group first; each of them
then trains the same experiment. The result equals that of one process, up to rounding.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from plumbline.data.sources import Table
from plumbline.data.split import shares_of
from plumbline.errors import InputError
from plumbline.threads import in_threads
from plumbline.training.device import Draws
from plumbline.training.objectives import Batch, Loss, RowObjective, batch_sizes
from plumbline.training.rows import Rows, TrainingRows


def in_a_group() -> bool:
    """Whether this process is one of several that train together."""
    return dist.is_available() and dist.is_initialized()


def of_all(value: float, operation: dist.ReduceOp = dist.ReduceOp.SUM) -> float:
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

    Each process reads files of its own, and computes the rows of a batch that are in them. If there
    are fewer files than processes, or the rows of one do not fit into its training.memory_mb, each
    reads all files and computes an equal part of each batch.

    Attributes:
        first: the index of its first row among all training rows, in the order of the files; None:
            it reads all files.
    """

    first: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.rank, self.processes = dist.get_rank(), dist.get_world_size()
        self._files = len(self.rows.data.source.parts)
        self._parallel: Callable[[Rows], Tensor] | None = None
        own = _of_own_files(self.rows, self.rank, self.processes)
        if own and of_all(own.fits("train"), dist.ReduceOp.MIN):
            counts = [0] * self.processes
            dist.all_gather_object(counts, own.counts["train"])
            self.rows, self.first = own, sum(counts[: self.rank])

    def batches(self, model: nn.Module, epoch: int) -> Iterable[Batch]:
        """Each step draws anew, by its number, so that a process has no state to resume from."""
        if self._parallel is None:
            self._parallel = wrapped(model, self._mean_loss, self.device)
        for number, batch in enumerate(super().batches(model, epoch)):
            if self.draws:  # the hash of integers is the same in every process
                seed = hash((self.training.seed, self.rank, epoch, number)) % 2**63
                self.draws = Draws(seed, self.device)
            yield batch

    def loss(self, model: nn.Module, rows: Rows, size: int) -> Loss:
        assert self._parallel
        return _PartOfLoss(self._parallel(rows), len(rows[1]) / size, self.processes)

    @property
    def limits(self) -> tuple[float, float] | None:
        if self.rows.limits is None:
            return None
        least, most = self.rows.limits
        return of_all(least, dist.ReduceOp.MIN), of_all(most, dist.ReduceOp.MAX)

    def validation_loss(self, model: nn.Module) -> float | None:
        own = super().validation_loss(model)
        return None if own is None else of_all(own)

    def _blocks(self, share: str) -> Iterator[Rows]:
        return map(self._part, super()._blocks(share))

    def _batches(self, model: nn.Module, random: torch.Generator) -> Iterator[tuple[int, Rows]]:
        if self.first is None:
            for size, batch in super()._batches(model, random):
                yield size, self._part(batch)
            return
        torch.randperm(self._files, generator=random)  # as one process does before it shuffles
        (own,), rows = self.rows.blocks("train"), self.counts["train"]
        place = torch.randperm(rows, generator=random) - self.first
        here = (place >= 0) & (place < len(own[0]))
        sizes = batch_sizes(rows, self.training.batch_size, model)
        of_own = [int(each.sum()) for each in here.split(sizes)]
        yield from zip(sizes, self.rows.shuffled([(own, place[here], of_own)]), strict=True)

    def _part(self, rows: Rows) -> Rows:
        """This process's part of rows that every process has read; its own rows as they are."""
        if self.first is not None:
            return rows
        return tuple(each.tensor_split(self.processes)[self.rank] for each in rows)


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


def _of_own_files(rows: TrainingRows, rank: int, processes: int) -> TrainingRows | None:
    """The rows of this process's own, consecutive files; None if there are too few files."""
    source = rows.data.source
    if not isinstance(source, Table) or len(source.files) < processes:
        return None
    first, end = (len(source.files) * each // processes for each in (rank, rank + 1))
    own = replace(source, files=source.files[first:end])

    def count(part: str) -> Counter[str]:
        found: Counter[str] = Counter()
        for block in own.blocks(part):
            for share, chosen in shares_of(rows.data.split, part, block).items():
                found[share] += block.rows.shape[1] if chosen is None else int(chosen.sum())
        return found

    counts: Counter[str] = sum(in_threads(count, own.parts), Counter())
    own_counts = {share: counts[share] for share in rows.counts}
    return replace(rows, data=replace(rows.data, source=own), counts=own_counts)
