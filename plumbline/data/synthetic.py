"""Generated rows, as a source of data."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from blake3 import blake3
from torch import Tensor

from plumbline.config.schema import SyntheticData
from plumbline.data.blocks import Block, block_rows
from plumbline.errors import InputError


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
    def names(self) -> tuple[str, ...]:
        """x and y, or x1, x2, ... and y."""
        width = self.data.width
        return (*(["x"] if width == 1 else [f"x{i + 1}" for i in range(width)]), "y")

    @property
    def dates(self) -> tuple[str, ...]:
        """None."""
        return ()

    @property
    def categorical(self) -> dict[str, tuple[str, ...]]:
        """None: generated columns are all numbers."""
        return {}

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
        """BLAKE3 over the rows, which are drawn once more for it."""
        hashed = blake3()
        for block in self.blocks(part):
            hashed.update(block.rows.numpy().tobytes())
        return hashed.hexdigest()

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
