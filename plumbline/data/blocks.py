"""Blocks of rows: what every source of data yields, whatever it reads or draws."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

import torch
from torch import Tensor

from plumbline.config.schema import SyntheticData
from plumbline.errors import InputError

# Rows a block. Enough that what is done once a block costs little beside the matrix products (so
# 32 rows a column at least), few enough that a block stays in the last cache.
BLOCK_ROWS = 32_768


def block_rows(columns: int) -> int:
    """Rows in a block of this many columns."""
    return max(BLOCK_ROWS, 32 * columns)


@dataclass(frozen=True)
class Block:
    """Some consecutive rows of one part.

    Attributes:
        columns: names of the features, then of the target; d + 1.
        rows: (d + 2) x k float64, finite: ones, the features, the target. A view into a buffer
            that the next block overwrites.
        first_row: number of the first row in its part, from 0.
        kept: (k0,) bool, which of the rows from first_row on are here; None: all.
    """

    columns: tuple[str, ...]
    rows: Tensor
    first_row: int
    kept: Tensor | None = None

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
    def places(self) -> tuple[int, ...]:
        """Each part's place among all there are, those left out included."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features, then of the target, as far as they are known before reading."""
        ...

    def blocks(self, part: str) -> Iterator[Block]:
        """The rows of one part, in order. Raises OSError if it is no longer what was listed."""
        ...

    def digest(self, part: str) -> str:
        """SHA-256 over all the data of one part, in hexadecimal."""
        ...

    def only(self, parts: Sequence[str]) -> "Source":
        """The same rows of some parts, for a worker that is to know of no others."""
        ...

    @property
    def label(self) -> str:
        """The parts in a few words."""
        ...


@dataclass(frozen=True)
class Synthetic:
    """Generated rows y = X w + b + noise, the same whenever they are asked for.

    Attributes:
        data: the configuration's data section.
    """

    data: SyntheticData

    @property
    def parts(self) -> tuple[str, ...]:
        return ("synthetic",)

    @property
    def places(self) -> tuple[int, ...]:
        return (0,)

    @property
    def names(self) -> tuple[str, ...]:
        """x and y, or x1, x2, ... and y."""
        width = self.data.width
        return (*(["x"] if width == 1 else [f"x{i + 1}" for i in range(width)]), "y")

    @property
    def weights(self) -> Tensor:
        """The true weights: (d,) float64."""
        if self.data.weights is not None:
            return torch.tensor(self.data.weights, dtype=torch.float64)
        return torch.randn(self.data.width, generator=self._random(-1), dtype=torch.float64)

    def blocks(self, part: str) -> Iterator[Block]:
        total = self.data.rows or len(self.data.x or ())
        step = block_rows(self.data.width + 2)
        for first in range(0, total, step):
            yield self._block(first, min(step, total - first))

    def digest(self, part: str) -> str:
        """SHA-256 over the rows, which are drawn once more for it."""
        hashed = sha256()
        for block in self.blocks(part):
            hashed.update(block.rows.numpy())
        return hashed.hexdigest()

    def only(self, parts: Sequence[str]) -> "Synthetic":
        """All: there is one part."""
        return self

    @property
    def label(self) -> str:
        return "generated rows"

    def _block(self, first: int, rows: int) -> Block:
        random = self._random(first)
        x = self._inputs(first, rows, random)
        y = x @ self.weights + self.data.bias
        if self.data.noise:
            y += self.data.noise * torch.randn(rows, generator=random, dtype=torch.float64)
        if not y.isfinite().all():
            raise InputError(
                "data must give finite rows. Got y beyond 1e308: lower data.weights, "
                "data.x or data.noise."
            )
        columns = torch.cat([torch.ones(rows, 1, dtype=torch.float64), x, y[:, None]], dim=1)
        return Block(self.names, columns.mT.contiguous(), first)

    def _inputs(self, first: int, rows: int, random: torch.Generator) -> Tensor:
        if self.data.x is not None:
            given = torch.tensor(self.data.x[first : first + rows], dtype=torch.float64)
            return given.reshape(rows, self.data.width)
        low, high = self.data.x_range
        drawn = torch.rand(rows, self.data.width, generator=random, dtype=torch.float64)
        return low + (high - low) * drawn

    def _random(self, stream: int) -> torch.Generator:
        """A generator of its own for each block, so that blocks can be drawn in any order."""
        mixed = (self.data.seed * 0x9E3779B97F4A7C15 + (stream + 2) * 0xBF58476D1CE4E5B9) % 2**63
        return torch.Generator().manual_seed(mixed)
