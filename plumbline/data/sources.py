"""Sources of rows: the files of a table, read in blocks through one buffer, or a generator."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import pyarrow as pa
import torch
from blake3 import blake3
from torch import Tensor

from plumbline.config.schema import SyntheticData, TableData
from plumbline.data.batches import block_rows, first_rows, read_batches
from plumbline.data.blocks import Block
from plumbline.data.buffer import Buffer
from plumbline.data.columns import Columns, check_columns, choose_columns
from plumbline.data.encoding import names_of
from plumbline.data.files import DataFile, choose_files
from plumbline.data.header import Kind, read_header
from plumbline.data.split import hold_out_newest
from plumbline.errors import InputError


@dataclass(frozen=True)
class Table:
    """A source of rows from files; each file is a part.

    Attributes:
        files: the files, sorted by path.
        columns: the columns to read from each.
        left_out: files outside the window, which are not read.
    """

    files: tuple[DataFile, ...]
    columns: Columns
    left_out: tuple[DataFile, ...] = ()

    @cached_property
    def parts(self) -> tuple[str, ...]:
        return tuple(file.uri for file in self.files)

    @property
    def names(self) -> tuple[str, ...]:
        levels = names_of(self.columns.categorical)
        return (*self.columns.numbers, *levels, self.columns.data.target)

    @property
    def categorical(self) -> dict[str, tuple[str, ...]]:
        """The categorical features with their levels; (): the levels are found in the pass."""
        target, of_all = self.columns.data.target, self.columns.categorical
        return {name: levels for name, levels in of_all.items() if name != target}

    @property
    def dates(self) -> tuple[str, ...]:
        """The columns of dates, which are converted to numbers."""
        return self.columns.dates

    def file(self, part: str) -> DataFile:
        """The file of a part, whose name is the URI."""
        return self._by_uri[part]

    @cached_property
    def _by_uri(self) -> dict[str, DataFile]:
        return {file.uri: file for file in (*self.files, *self.left_out)}

    def batches(self, part: str, kinds: Mapping[str, Kind]) -> Iterator[pa.RecordBatch]:
        """Yield the batches of one file, with these of its columns, as read_batches does.

        Raises:
            InputError: the file's columns are not the table's, or it is damaged.
            OSError: the file cannot be read at the moment.
        """
        header = read_header(self.file(part), self.columns.dialect)
        check_columns(self.columns, header)
        yield from read_batches(header, kinds)

    def blocks(
        self, part: str, on_batch: Callable[[pa.RecordBatch], object] = lambda batch: None
    ) -> Iterator[Block]:
        """Yield the rows of one file; values to impute are NaN until the means are known.

        Args:
            part: the URI of the file.
            on_batch: called with each batch that is read, before the blocks with its rows.

        Raises:
            InputError: the file's columns are not the table's, it is damaged, or a value is not a
                finite number (a missing one only if data.missing is "error").
            OSError: the file cannot be read at the moment, or changed since it was listed.
        """
        file = self.file(part)
        buffer = Buffer(self.columns, file)
        try:
            for batch in self.batches(part, self.columns.reading):
                on_batch(batch)
                yield from buffer.fill(batch)
            yield from buffer.rest()
        except InputError:
            file.check_unchanged()  # a file that is being rewritten is not wrong input
            raise
        file.check_unchanged()

    def digest(self, part: str) -> str:
        """The BLAKE3 hash of all bytes of a file; of the rows read if data.limit cuts it off."""
        if self.file(part).rows is None:
            return self.file(part).digest()
        hashed = blake3()
        for block in self.blocks(part):
            hashed.update(repr(block.columns).encode() + block.rows.contiguous().numpy().tobytes())
        return hashed.hexdigest()

    def with_columns(self, **changes: Any) -> "Table":
        """The same rows with fields of the columns changed that only a pass can determine, such as
        `means`."""
        return replace(self, columns=replace(self.columns, **changes))

    def counting(self, column: str) -> "Table":
        """The same rows with a column added to those with many levels."""
        return self.with_columns(many=self.columns.many | {column})


def open_table(data: TableData) -> Table:
    """Find the files of a table and choose the columns to read; no rows are read.

    Raises:
        InputError: there is no such file, or a named column is missing or of the wrong kind.
    """
    chosen = choose_files(data)
    columns = choose_columns(data, chosen.files)
    files = first_rows(chosen.files, data.limit, columns.dialect) if data.limit else chosen.files
    if data.split.by == "time" and data.test_fraction != "cut" and data.split.cut is None:
        files = hold_out_newest(files, data.test_fraction)
    return Table(files, columns, chosen.left_out)


@dataclass(frozen=True)
class Synthetic:
    """A source of generated rows y = X w + b + noise, the same every time they are read.

    Attributes:
        data: the configuration section `data`.
    """

    data: SyntheticData
    parts: ClassVar[tuple[str, ...]] = ("synthetic",)
    dates: ClassVar[tuple[str, ...]] = ()
    categorical: ClassVar[dict[str, tuple[str, ...]]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The names x and y, or x1, x2, ... and y."""
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
        """The BLAKE3 hash of the rows, which are generated once more for it."""
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
        return Block(self.names, columns.mT.contiguous(), self.parts[0], first)

    def _inputs(self, first: int, rows: int, random: torch.Generator) -> Tensor:
        if self.data.x is not None:
            given = torch.tensor(self.data.x[first : first + rows], dtype=torch.float64)
            return given.reshape(rows, self.data.width)
        low, high = self.data.x_range
        drawn = torch.rand(rows, self.data.width, generator=random, dtype=torch.float64)
        return low + (high - low) * drawn

    def _random(self, stream: int) -> torch.Generator:
        """A separate generator for each block, so that blocks can be drawn in any order."""
        mixed = (self.data.seed * 0x9E3779B97F4A7C15 + (stream + 2) * 0xBF58476D1CE4E5B9) % 2**63
        return torch.Generator().manual_seed(mixed)
