"""Blocks of rows: what every source of data yields, whatever it reads or draws."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from plumbline.threads import one_ahead

WEIGHT = ""  # stands for the rows' weights among names of columns; no feature has that name


@dataclass(frozen=True)
class Block:
    """Some consecutive rows of one part.

    Attributes:
        columns: names of the features, then of the target; d + 1.
        rows: (d + 2) x k float64, finite but for holes that are not filled yet (NaN): the rows'
            weights, above 0 (ones if rows have none), the features, the target. A view into a
            buffer that the next block overwrites.
        first_row: number of the first row in its part, from 0.
        kept: (k0,) bool, which of the rows from first_row on are here; None: all.
        groups: (k,) uint64, a number for the group of each row; None: each is by itself.
        tested: (k,) bool, which rows are held out for testing by their time; None: some are drawn.
    """

    columns: tuple[str, ...]
    rows: Tensor
    first_row: int
    kept: Tensor | None = None
    groups: np.ndarray | None = None
    tested: Tensor | None = None

    @property
    def span(self) -> int:
        """How many rows of the part this block stands for, dropped ones included."""
        return self.rows.shape[1] if self.kept is None else len(self.kept)


class Source(Protocol):
    """Where rows come from: parts that can be read one by one, in any order, more than once."""

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts' names in their fixed order."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features, then of the target, as far as they are known before reading."""
        ...

    @property
    def categorical(self) -> dict[str, tuple[str, ...]]:
        """The categorical features, each with its levels; (): they are found in the rows."""
        ...

    @property
    def dates(self) -> tuple[str, ...]:
        """The columns whose dates become numbers."""
        ...

    def blocks(self, part: str) -> Iterator[Block]:
        """The rows of one part, in order. Raises OSError if it is no longer what was listed."""
        ...

    def digest(self, part: str) -> str:
        """BLAKE3 over all the data of one part, in hexadecimal."""
        ...


def take_columns(rows: Tensor, have: Sequence[str], wanted: Sequence[str]) -> Tensor:
    """The wanted columns of rows (m, len(have)) in their order, as a copy (m, len(wanted)).

    A column that is not there counts as all zeros: a level that none of the rows has.
    """
    place = {name: i for i, name in enumerate(have)}
    taken = torch.zeros(len(rows), len(wanted), dtype=rows.dtype)
    for i, name in enumerate(wanted):
        if name in place:
            taken[:, i] = rows[:, place[name]]
    return taken


def on_device(blocks: Iterator[Block], device: str) -> Iterator[Block]:
    """The same blocks with their rows on a device.

    On the CPU they are handed through. For an accelerator a thread reads one block ahead, copies it
    into pinned memory and on, by a stream of its own; so a block may be kept while the next comes.
    """
    if device == "cpu":
        yield from blocks
        return
    kind = getattr(torch, torch.device(device).type)
    side = kind.Stream(device)

    def move(rows: Tensor) -> Tensor:
        pinned = rows.clone().pin_memory()
        with kind.stream(side):
            there = pinned.to(device, non_blocking=True)
        side.synchronize()
        return there

    for block in one_ahead(replace(block, rows=move(block.rows)) for block in blocks):
        # made by the side stream, used by this one: the allocator must know of both
        block.rows.record_stream(kind.current_stream(device))
        yield block
