"""Blocks of rows, which every source of data yields."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from plumbline.threads import one_ahead

WEIGHT = ""  # the name of the rows' weights among columns; no feature has this name


@dataclass(frozen=True)
class Block:
    """A block of consecutive rows of one part.

    Attributes:
        columns: names of the features, then of the target; d + 1.
        rows: (d + 2) x k float64, finite except for missing values that are not imputed yet (NaN):
            the rows' weights, above 0 (1 without data.weight), the features, the target. A view
            into a buffer that the next block overwrites.
        name: of its part: the path of the file below data.path. With a row's number it decides
            whether the row is held out.
        first_row: index of the first row in its part, from 0.
        kept: (k0,) bool, which of the k0 rows from first_row on are in the block; None: all.
        groups: (k,) uint64, a number for the group of each row; None: rows have no groups.
        tested: (k,) bool, which rows are held out for testing by time; None: they are drawn.
    """

    columns: tuple[str, ...]
    rows: Tensor
    name: str
    first_row: int
    kept: Tensor | None = None
    groups: np.ndarray | None = None
    tested: Tensor | None = None

    @property
    def span(self) -> int:
        """The number of rows of the part that the block covers, including dropped ones."""
        return self.rows.shape[1] if self.kept is None else len(self.kept)


class Source(Protocol):
    """A source of rows in parts, which can be read one by one, in any order, and repeatedly."""

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts, in a fixed order."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the features, then of the target, as far as known before reading."""
        ...

    @property
    def categorical(self) -> dict[str, tuple[str, ...]]:
        """The categorical features with their levels; (): the levels are found in the rows."""
        ...

    @property
    def dates(self) -> tuple[str, ...]:
        """The columns of dates, which are converted to numbers."""
        ...

    def blocks(self, part: str) -> Iterator[Block]:
        """Yield the rows of a part in order. Raises OSError if it changed since it was listed."""
        ...

    def digest(self, part: str) -> str:
        """The BLAKE3 hash of all the data of a part, in hexadecimal."""
        ...


def take_columns(rows: Tensor, have: Sequence[str], wanted: Sequence[str]) -> Tensor:
    """Copy the wanted columns of rows (m, len(have)), in the order wanted: (m, len(wanted)).

    A column that is absent is all zeros: a level that none of the rows has.
    """
    place = {name: i for i, name in enumerate(have)}
    places = [place.get(name, len(have)) for name in wanted]
    padded = functional.pad(rows, (0, 1))  # the last column is zeros
    return padded.index_select(1, torch.tensor(places, dtype=torch.int64))


def on_device(blocks: Iterator[Block], device: str) -> Iterator[Block]:
    """Yield the same blocks with their rows on a device.

    On the CPU they are unchanged. For an accelerator a thread reads one block ahead and copies it
    through pinned memory on a separate stream, so a block stays valid when the next one comes.
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
