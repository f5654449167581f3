"""The rows to train on: kept between epochs if they fit, otherwise read in pools."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, islice
from threading import Lock

import torch
from torch import Tensor

from plumbline.config.schema import Training, without_auto
from plumbline.data.batches import BLOCK_ROWS
from plumbline.data.blocks import WEIGHT
from plumbline.data.split import share_columns
from plumbline.errors import InputError
from plumbline.linear.dataset import Dataset
from plumbline.linear.problem import Standardizer
from plumbline.threads import in_threads, one_ahead, one_thread

# Features (n, d) and target (n, 1) or (n, classes) in training's dtype, and, if rows have weights,
# these over their mean, (n,). Each is a tensor of its own: a view of one matrix has other strides,
# and so a product other last bits than in a plain loop.
Rows = tuple[Tensor, ...]
Drawn = tuple[Rows, Tensor, Sequence[int]]  # a pool, the order of its rows, the sizes of batches

SHARES = "train", "validation"
POOLS = 4  # a pool takes a quarter of training.memory_mb; there are two
GATHERED_BYTES = 1 << 23  # of shuffled rows at once, so that they stay in the last-level cache


@dataclass
class TrainingRows:
    """The rows of each share in the units and the precision that are trained on.

    A share that fits into training.memory_mb is read once and kept, on the device if it takes at
    most half of what is free there. Other rows are read again every time, in pools that two
    buffers take in turn: a thread fills one while the other is used.

    Attributes:
        data: where the rows come from, and which of them are held out.
        training: the configuration's section.
        standardizer: from raw units to those that are trained on.
        device: where training runs.
        limits: the target's range over the training rows read so far, in raw units, which
            predictions are kept within; None: they are not.
        parts: of the source, which are read; default: all of them.
        counts: the number of rows of each share, train and validation; default: of the dataset.
    """

    data: Dataset
    training: Training
    standardizer: Standardizer
    device: str
    limits: tuple[float, float] | None = None
    parts: Sequence[str] = ()
    counts: dict[str, int] = field(default_factory=dict)
    kept: dict[str, Rows] = field(default_factory=dict, init=False)
    _pools: list[Rows] = field(default_factory=list, init=False)
    _gathered: list[Rows] = field(default_factory=list, init=False)
    _widening: Lock = field(default_factory=Lock, init=False)

    def __post_init__(self) -> None:
        data, features = self.data, len(self.standardizer.mean)
        summary, profiled, self._dtype = data.summary, data.profiled, tensor_type(self.training)
        self.counts = self.counts or {s: getattr(summary, s).rows for s in SHARES}
        self.parts = self.parts or data.source.parts
        self.columns = (*data.encoding.features, *data.outputs)
        means = {share: data.mean_weight(getattr(profiled, share)) for share in self.counts}
        self.mean_weights = means if data.has_weights else {}
        self._widths = [features, len(self.columns) - features, *([1] if self.mean_weights else [])]
        self._row_bytes = sum(self._widths) * self._dtype.itemsize
        batch = without_auto(self.training.batch_size) or 1
        self.memory = self.training.memory_mb * 2**20
        self.pool_rows = max(1, int(self.memory / POOLS / self._row_bytes / batch)) * batch

    def fits(self, share: str) -> bool:
        """Whether a share is kept. The rows held out for the validation loss get the memory that
        the training rows, or their pools, leave."""
        room, train = self.memory, self.counts["train"] * self._row_bytes
        if share == "train":
            return train <= room
        room -= train if train <= room else 2 * room / POOLS
        return self.counts[share] * self._row_bytes <= room

    def blocks(self, share: str) -> Iterator[Rows]:
        """A share's rows in the order of the files: all at once if they are kept. The next block
        may overwrite one that is not."""
        if self.fits(share):
            yield self._all(share)
            return
        for pool in self.stream(share, self.parts, in_pieces(self.counts[share], self.pool_rows)):
            yield from zip(*(each.split(BLOCK_ROWS) for each in pool), strict=True)

    @property
    def pool_sizes(self) -> list[int]:
        """The number of rows of each pool in an epoch."""
        rows = self.counts["train"]
        return [rows] if self.fits("train") else in_pieces(rows, self.pool_rows)

    @cached_property
    def part_rows(self) -> Tensor:
        """The training and the validation rows of each part of the source: (parts, 2)."""
        return torch.tensor(self.data.summary.part_rows)

    def ends_in(self, order: Tensor) -> Tensor:
        """How many training rows are read once each part is, if all are read in this order."""
        return self.part_rows[order, 0].cumsum(0)

    def pools(self, random: torch.Generator, skipped: int = 0) -> Iterator[Rows]:
        """The training rows in pools of files in random order; one if they are kept.

        Args:
            random: draws the order.
            skipped: how many pools to leave out at the beginning. Files with none but their rows
                are not opened.
        """
        order = torch.randperm(len(self.parts), generator=random)
        if self.fits("train"):
            return iter([self._all("train")])
        ends, before = self.ends_in(order), skipped * self.pool_rows
        first = int((ends <= before).sum())
        rest = in_pieces(before - int(ends[first - 1] if first else 0), self.pool_rows)
        parts = [self.parts[i] for i in order[first:]]
        pools = self.stream("train", parts, [*rest, *self.pool_sizes[skipped:]])
        return islice(pools, len(rest), None)

    def shuffled(self, drawn: Iterable[Drawn]) -> Iterator[Rows]:
        """Yield shuffled rows as batches. A thread gathers the next group of batches while the
        caller uses the current one; a group is overwritten by the next but one."""
        gathered = self._gather(drawn)
        if self.counts["train"] * self._row_bytes > GATHERED_BYTES:
            gathered = one_ahead(gathered)
        for batches in gathered:
            yield from zip(*batches, strict=True)

    def _gather(self, drawn: Iterable[Drawn]) -> Iterator[list[tuple[Tensor, ...]]]:
        """Yield groups of batches, in two buffers that take turns."""
        for pool, order, sizes in drawn:
            largest = max(1, *sizes)
            at_once = max(1, GATHERED_BYTES // (self._row_bytes * largest))
            most, start = at_once * largest, 0
            if not self._gathered or len(self._gathered[0][0]) < min(most, len(order)):
                self._gathered = [
                    tuple(each.new_empty((most, *each.shape[1:])) for each in pool) for _ in "ab"
                ]
            for first in range(0, len(sizes), at_once):
                some = sizes[first : first + at_once]
                chosen = order[start : start + sum(some)].to(pool[0].device)
                start += len(chosen)
                self._gathered.reverse()
                yield [
                    torch.index_select(each, 0, chosen, out=buffer[: len(chosen)]).split(some)
                    for each, buffer in zip(pool, self._gathered[0], strict=True)
                ]

    def _all(self, share: str) -> Rows:
        """All rows of a share, read at the first call, parts of them side by side."""
        if share not in self.kept:
            rows = self.empty(self.counts[share])
            of_part = dict(zip(self.data.source.parts, self.part_rows, strict=True))
            counts = [int(of_part[part][SHARES.index(share)]) for part in self.parts]
            starts = dict(zip(self.parts, accumulate(counts[:-1], initial=0), strict=True))

            def read(part: str) -> None:
                filled = starts[part]
                with one_thread():
                    for block in self._read(share, [part]):
                        filled = _fill(rows, filled, block)

            deque(in_threads(read, self.parts), maxlen=0)
            there = _has_room(self.device, self.counts[share] * self._row_bytes)
            self.kept[share] = tuple(each.to(self.device) for each in rows) if there else rows
        return self.kept[share]

    def stream(self, share: str, parts: Sequence[str], sizes: Iterable[int]) -> Iterator[Rows]:
        """Yield the rows of parts in pools of these sizes, at most pool_rows each; a thread fills
        the next one while the caller works."""
        pools = self._fill_pools(share, parts, sizes)
        return one_ahead(tuple(each.to(self.device) for each in pool) for pool in pools)

    def _fill_pools(self, share: str, parts: Sequence[str], sizes: Iterable[int]) -> Iterator[Rows]:
        """Yield pools, each of which overwrites the last but one."""
        if not self._pools:
            self._pools = [self.empty(self.pool_rows), self.empty(self.pool_rows)]
        blocks, block = self._read(share, parts), torch.empty(sum(self._widths), 0)
        for size in sizes:
            filled = 0
            while filled < size:
                if not block.shape[1]:
                    block = next(blocks)
                some, block = block.tensor_split([size - filled], dim=1)
                filled = _fill(self._pools[0], filled, some)
            yield tuple(each[:size] for each in self._pools[0])
            self._pools.reverse()
        for _ in blocks:  # a file that was changed raises at its end
            pass

    def empty(self, rows: int) -> Rows:
        """Memory for so many rows, not on the device."""
        shapes = [(rows, width) for width in self._widths[:2]] + [(rows,)] * len(self._widths[2:])
        return tuple(torch.empty(shape, dtype=self._dtype) for shape in shapes)

    def _read(self, share: str, parts: Sequence[str]) -> Iterator[Tensor]:
        """A share's rows in blocks (features + targets + weights, k); the next one may overwrite
        a block."""
        mean = self.mean_weights.get(share)
        columns = (*self.columns, WEIGHT) if mean else self.columns
        for raw in share_columns(self.data.source, self.data.split, (share,), columns, parts):
            rows, weights = raw.tensor_split([len(self.columns)])
            if self.training.loss == "poisson" or self.limits:
                self._look_at_range(share, rows[-1])
            scaled = self.standardizer.apply_(rows)
            yield torch.cat([scaled, weights.to(self._dtype) / mean]) if mean else scaled

    def _look_at_range(self, share: str, target: Tensor) -> None:
        """Refuse counts below 0, and widen the limits to hold the training rows' targets."""
        if self.training.loss == "poisson":
            check_counts(self.columns[-1], target)
        if self.limits and share == "train":
            least, most = map(float, target.aminmax())
            with self._widening:
                self.limits = min(self.limits[0], least), max(self.limits[1], most)


def in_pieces(rows: int, size: int) -> list[int]:
    """The sizes of the pieces that rows make, all but the last of one size."""
    return [size] * (rows // size) + [rows % size] * (rows % size > 0)


def _fill(rows: Rows, filled: int, block: Tensor) -> int:
    """Copy a block, (columns, k), behind the filled rows; returns how many are filled then."""
    end = filled + block.shape[1]
    widths = [each[0].numel() for each in rows]
    for each, columns in zip(rows, block.split(widths), strict=True):
        each[filled:end] = columns.mT if each.ndim == 2 else columns[0]
    return end


def _has_room(device: str, size: int) -> bool:
    """Whether so many bytes fit into half of an accelerator's free memory, if it reports that."""
    kind = torch.device(device).type
    if kind not in ("cuda", "xpu"):
        return True
    return size <= getattr(torch, kind).mem_get_info(device)[0] / 2


def check_counts(column: str, counts: Tensor) -> None:
    """Refuse counts below 0 in the target."""
    if (least := float(counts.min())) < 0:
        raise InputError(
            f"data.target: column '{column}' must hold counts >= 0 with training.loss poisson. "
            f"Got {least:g}."
        )


def tensor_type(training: Training) -> torch.dtype:
    """The dtype of parameters and rows: float32 with autocast."""
    return torch.float32 if training.dtype == "bfloat16" else getattr(torch, training.dtype)
