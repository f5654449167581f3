"""Rows of CSV and Parquet files, read in blocks through one buffer."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from regression.batches import read_batches
from regression.columns import Columns, check_columns, names_of
from regression.errors import InputError
from regression.files import DataFile
from regression.rows import Block, block_rows

MAX_LEVELS = 1_000


@dataclass(frozen=True)
class Table:
    """Rows of files, a part a file.

    Attributes:
        files: the files, sorted by path.
        columns: what is read of each.
        missing: what a missing value means: "error" or "drop" the row.
    """

    files: tuple[DataFile, ...]
    columns: Columns
    missing: Literal["error", "drop"] = "error"

    @cached_property
    def parts(self) -> tuple[str, ...]:
        return tuple(file.uri for file in self.files)

    @property
    def names(self) -> tuple[str, ...]:
        levels = names_of(self.columns.categorical)
        return (*self.columns.numeric, *levels, self.columns.target)

    def file(self, part: str) -> DataFile:
        """The file that a part stands for."""
        return self.files[self.parts.index(part)]

    def blocks(self, part: str) -> Iterator[Block]:
        """The rows of one file.

        Raises:
            InputError: the file's columns are not the table's, it is damaged, or a value is not
                a finite number (a missing one only where `missing` is "error").
            OSError: the file cannot be read just now.
        """
        file = self.file(part)
        check_columns(self.columns, file)
        buffer = _Buffer(self.columns, file)
        for batch in read_batches(file, self.columns.reading):
            for start, rows in buffer.fill(batch):
                yield _finite(buffer, start, rows, self.missing)
        if buffer.filled:
            yield _finite(buffer, buffer.first_row, buffer.filled, self.missing)


@dataclass
class _Buffer:
    """The one block that a file's batches are copied through.

    Rows of the array: ones, numeric features, indicators in the order met, the target last.
    A missing value is NaN in every row of the array that its column fills.
    """

    columns: Columns
    file: DataFile
    filled: int = 0
    first_row: int = 0
    levels: dict[str, list[str]] = field(init=False)
    array: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.levels = {name: list(given) for name, given in self.columns.categorical.items()}
        self.array = self._blank()

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.columns.numeric, *names_of(self.levels), self.columns.target)

    def _blank(self) -> np.ndarray:
        height = len(self.names) + 1
        blank = np.zeros((height, block_rows(height)))
        blank[0] = 1.0
        return blank

    def fill(self, batch: pa.RecordBatch) -> Iterator[tuple[int, int]]:
        """Copy a batch in; yield (first row, rows) whenever the buffer is full."""
        met = {n: self._new_levels(n, batch.column(n)) for n in self.columns.categorical}
        if any(met.values()):
            if self.filled:
                yield self.first_row, self.filled
                self._advance()
            self.levels = {name: levels + met[name] for name, levels in self.levels.items()}
            self.array = self._blank()
        start = 0
        while start < batch.num_rows:
            count = min(self.array.shape[1] - self.filled, batch.num_rows - start)
            self._copy(batch.slice(start, count), slice(self.filled, self.filled + count))
            self.filled, start = self.filled + count, start + count
            if self.filled == self.array.shape[1]:
                yield self.first_row, self.filled
                self._advance()

    def _advance(self) -> None:
        self.first_row, self.filled = self.first_row + self.filled, 0

    def _copy(self, batch: pa.RecordBatch, place: slice) -> None:
        for i, name in enumerate(self.columns.numeric):
            self.array[i + 1, place] = _floats(batch.column(name))
        row = len(self.columns.numeric) + 1
        for name, levels in self.levels.items():
            codes = pc.index_in(_text(batch.column(name)), pa.array(levels, pa.string()))
            codes = codes.fill_null(-1).to_numpy(zero_copy_only=False)
            indicators = codes == np.arange(len(levels))[:, None]
            self.array[row : row + len(levels), place] = np.where(codes < 0, np.nan, indicators)
            row += len(levels)
        self.array[-1, place] = _floats(batch.column(self.columns.target))

    def _new_levels(self, name: str, values: pa.Array) -> list[str]:
        """The levels of a column that were not met before."""
        found = pc.unique(_text(values)).drop_null().to_pylist()
        known = set(self.levels[name])
        new = [level for level in found if level not in known]
        given = self.columns.categorical[name]
        if new and given:
            raise InputError(
                f"{self.file.uri}: column '{name}' must hold one of {', '.join(given)}"
                f". Got '{new[0]}' instead (in or after row {self.first_row + 1})."
            )
        if len(known) + len(new) > MAX_LEVELS:
            raise InputError(
                f"data.categorical: column '{name}' must have at most {MAX_LEVELS} "
                f"levels. {self.file.uri} has more; is it an identifier?"
            )
        return new


def _finite(buffer: _Buffer, first_row: int, rows: int, missing: str) -> Block:
    """The buffer's rows as a block; a missing or infinite value is refused or its row dropped."""
    block = torch.from_numpy(buffer.array)[:, :rows]
    if torch.isfinite(block.sum()):  # NaN and infinity survive a sum, so one number tells
        return Block(buffer.names, block, first_row)
    absent = block.isnan()
    wrong = block.isinf() if missing == "drop" else ~block.isfinite()
    if wrong.any():
        column, row = _first_true(wrong)
        name = buffer.names[column - 1]
        nan = bool(absent[column, row])
        found = "a missing value (empty or NaN)" if nan else str(block[column, row].item())
        hint = "; data.missing: drop leaves such rows out" if nan else ""
        raise InputError(
            f"{buffer.file.uri}: column '{name}', row {first_row + row + 1} must be a "
            f"finite number. Got {found} instead{hint}."
        )
    kept = ~absent.any(dim=0)
    return Block(buffer.names, block[:, kept], first_row, kept)


def _first_true(wrong: torch.Tensor) -> tuple[int, int]:
    """The (column, row) of the first True, by row."""
    row = int(wrong.any(dim=0).int().argmax())
    return int(wrong[:, row].int().argmax()), row


def _floats(values: pa.Array) -> np.ndarray:
    """A column as numbers, NaN where a value is missing."""
    plain = pa.types.is_floating(values.type) or pa.types.is_integer(values.type)
    if not plain or values.null_count:
        values = pc.cast(values, pa.float64(), safe=False)
    return values.to_numpy(zero_copy_only=False)


def _text(values: pa.Array) -> pa.Array:
    """A categorical column as text; numbers and booleans are written out."""
    return values if values.type == pa.string() else pc.cast(values, pa.string())
