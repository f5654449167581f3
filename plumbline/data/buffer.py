"""The buffer through which a file's rows are copied into blocks, and the checks of their values."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from plumbline.data.batches import MEMORY, as_dates, as_numbers, as_text, block_rows, class_names
from plumbline.data.blocks import Block
from plumbline.data.columns import Columns
from plumbline.data.encoding import (
    MISSING,
    OTHER,
    PARTS,
    date_parts,
    missing_indicator,
    names_of,
    parts_of,
)
from plumbline.data.files import DataFile
from plumbline.data.split import group_numbers, times_in
from plumbline.errors import InputError, TooManyLevelsError, listed, must_be

MAX_CLASSES = 1_000


@dataclass
class Buffer:
    """The buffer through which a file's batches are copied.

    The rows of the array are: weights (ones without data.weight), numeric features, indicators of
    their missing values and of levels in the order of appearance (including classes of the target),
    and last the target (zeros if it has classes). A missing number is NaN unless the mean of its
    column is known; a missing level is True in `absent`, which has a row for each categorical
    column, and a last one for the time that decides which rows are held out.

    Attributes:
        columns: the columns to read.
        file: the file that is read.
        first_row: the number in the file of the first row here.
        filled: the number of rows here.
        holes: the array's row of each column that has an indicator of its missing values.
        levels: the levels met so far, by column.
        groups: a number for the group of each row.
        tested: whether each row is held out, if that depends on time.
    """

    columns: Columns
    file: DataFile
    first_row: int = 0
    filled: int = 0
    holes: dict[str, int] = field(default_factory=dict)
    levels: dict[str, list[str]] = field(init=False)
    array: np.ndarray = field(init=False)
    absent: np.ndarray = field(init=False)
    groups: np.ndarray = field(init=False)
    tested: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.levels = {name: list(given) for name, given in self.columns.categorical.items()}
        self._allocate(0)

    @property
    def imputes(self) -> bool:
        """Whether missing values are filled in."""
        return self.columns.data.missing == "impute"

    @property
    def names(self) -> tuple[str, ...]:
        holes, levels = map(missing_indicator, self.holes), names_of(self.levels)
        return (*self.columns.numbers, *holes, *levels, self.columns.data.target)

    def place_of(self, column: str, row: int) -> str:
        """The place of a value, for a message; the rows of the file count from 0."""
        return f"{self.file.uri}: column '{column}', row {row + 1}"

    def _allocate(self, rows: int) -> None:
        """Make arrays for the present columns, with room for so many rows, but a block at most."""
        height = len(self.names) + 1
        needed = 32 * height**2  # R and the memory for merging it
        if self.levels and needed > MEMORY:
            raise InputError(
                f"data.max_levels must be so few that R fits in memory ({MEMORY / 1e9:.3g} GB). "
                f"Got {height - 1:,} columns in {self.file.uri}, which need {needed / 1e9:.3g} GB."
            )
        # an odd number of cache lines a row, as BLOCK_ROWS has: see there
        rows = min(8 * (-(-rows // 8) | 1), block_rows(height))
        self.array = np.empty((height, rows))
        self.absent = np.zeros((len(self.levels) + 1, rows), dtype=bool)
        self.groups = np.zeros(rows, dtype=np.uint64)
        self.tested = np.full(rows, bool(self.file.tested))

    def _make_room(self, rows: int) -> None:
        """Grow the arrays for so many rows more: a whole block of a small, wide table would be many
        times its size."""
        names = "array", "absent", "groups", "tested"
        before = {name: getattr(self, name)[..., : self.filled] for name in names}
        self._allocate(max(self.filled + rows, 2 * self.array.shape[1]))
        for name, filled in before.items():
            getattr(self, name)[..., : self.filled] = filled

    def fill(self, batch: pa.RecordBatch) -> Iterator[Block]:
        """Copy a batch into the buffer; yield its rows whenever it is full.

        Raises:
            InputError: a value is not allowed.
        """
        start = self.first_row + self.filled
        met = {n: self._new_levels(n, batch, start) for n in self.levels}
        holes = self._new_holes(batch)
        if holes or any(met.values()):
            yield from self.rest()
            self.holes |= holes
            self.levels = {name: levels + met[name] for name, levels in self.levels.items()}
            self._allocate(self.array.shape[1])
        most, start = block_rows(len(self.array)), 0
        if self.filled + batch.num_rows > self.array.shape[1] < most:
            self._make_room(batch.num_rows)
        while start < batch.num_rows:
            count = min(most - self.filled, batch.num_rows - start)
            self._copy(batch.slice(start, count), slice(self.filled, self.filled + count))
            self.filled, start = self.filled + count, start + count
            if self.filled == most:
                yield from self.rest()

    def rest(self) -> Iterator[Block]:
        """Yield the rows that are in the buffer, if there are any, and empty it."""
        if self.filled:
            yield _checked_block(self)
            self.first_row, self.filled = self.first_row + self.filled, 0

    def _copy(self, batch: pa.RecordBatch, place: slice) -> None:
        data = self.columns.data
        if data.split.group:
            self.groups[place] = group_numbers(as_text(batch.column(data.split.group)))
        if data.split.time:
            self._hold_out(data.split.time, batch, place)
        self.array[0, place] = as_numbers(batch.column(data.weight)) if data.weight else 1.0
        for i, name in enumerate(self.columns.numeric):
            self.array[i + 1, place] = as_numbers(batch.column(name))
        row = len(self.columns.numeric) + 1
        for name in self.columns.dates:
            self.array[row : row + len(PARTS), place] = self._parts(name, batch, place.start)
            row += len(PARTS)
        for name, number in self.holes.items():
            values = self.array[number, place]
            self.array[row, place] = absent = np.isnan(values)
            values[absent] = self.columns.means.get(name, np.nan)
            row += 1
        for i, (name, levels) in enumerate(self.levels.items()):
            codes = pc.index_in(self._names(name, batch), pa.array(levels, pa.string()))
            codes = codes.fill_null(-1).to_numpy(zero_copy_only=False)
            self.array[row : row + len(levels), place] = codes == np.arange(len(levels))[:, None]
            self.absent[i, place] = codes < 0
            if name == data.target and (of := self.columns.class_weights):
                self.array[0, place] *= np.array([of.get(level, 0.0) for level in levels])[codes]
            row += len(levels)
        of_target = 0.0 if self.columns.has_classes else as_numbers(batch.column(data.target))
        self.array[-1, place] = of_target

    def _parts(self, name: str, batch: pa.RecordBatch, first_row: int) -> np.ndarray:
        """The parts of a column of dates, (parts, n). Raises InputError for any other value."""
        parts = np.stack([*date_parts(as_dates(batch.column(name)).to_pandas()).values()])
        hint = "; data.dates: [] reads no column as dates"
        self._refuse_other(name, batch, np.isnan(parts[0]), first_row, hint)
        return parts

    def _hold_out(self, name: str, batch: pa.RecordBatch, place: slice) -> None:
        """Mark the rows from the cut on as held out. Raises InputError for any other value."""
        split = self.columns.data.split
        times = times_in(split, batch)
        absent = times.isna().to_numpy()
        if isinstance(split.cut, str):
            self._refuse_other(name, batch, absent, place.start)
        self.tested[place], self.absent[-1, place] = times >= split.cut_value, absent

    def _refuse_other(
        self, name: str, batch: pa.RecordBatch, absent: np.ndarray, first_row: int, hint: str = ""
    ) -> None:
        """Raise InputError for the first value that is present but was not read as a date."""
        wrong = absent & batch[name].is_valid().to_numpy(zero_copy_only=False)
        if wrong.any():
            row = int(wrong.argmax())
            place = self.place_of(name, self.first_row + first_row + row)
            found = f"'{str(batch[name][row])[:60]}'"
            raise must_be(place, "a date or time in ISO 8601", found, hint)

    def _names(self, name: str, batch: pa.RecordBatch) -> pa.Array:
        """Convert a categorical column, or a target of classes, to text."""
        values = batch.column(name)
        if name == self.columns.data.target:
            return class_names(values)
        text, given = as_text(values), self.columns.categorical[name]
        if OTHER in given:
            text = pc.if_else(pc.is_in(text, pa.array([*given, None])), text, OTHER)
        return text.fill_null(MISSING) if self.imputes else text

    def _new_holes(self, batch: pa.RecordBatch) -> dict[str, int]:
        """The array rows of the columns whose first missing value is in this batch, by name."""
        if not self.imputes:
            return {}
        some = {name for name in self.columns.numeric if _has_missing(batch[name])}
        for name in self.columns.dates:
            some |= {*parts_of(name)} if batch[name].null_count else set()
        rows = {name: row for row, name in enumerate(self.columns.numbers, 1)}
        return {n: row for n, row in rows.items() if n in some and n not in self.holes}

    def _new_levels(self, name: str, batch: pa.RecordBatch, first_row: int) -> list[str]:
        """The levels of a column that appear for the first time."""
        values = self._names(name, batch)
        found = pc.unique(values).drop_null().to_pylist()
        known = set(self.levels[name])
        new = [level for level in found if level not in known]
        given = self.columns.categorical[name]
        if given and (wrong := [level for level in new if level != MISSING or not self.imputes]):
            place = self.place_of(name, first_row + pc.index(values, wrong[0]).as_py())
            raise must_be(place, f"one of {listed(given)}", f"'{wrong[0]}'")
        levels = len({*known, *new} - {MISSING})
        of_target = name == self.columns.data.target
        if of_target and levels > MAX_CLASSES:
            raise InputError(
                f"data.target: column '{name}' must have at most {MAX_CLASSES} classes (is it a "
                f"number?). {self.file.uri} has more."
            )
        if not of_target and not given and levels > self.columns.data.max_levels:
            raise TooManyLevelsError(name)
        return new


def _checked_block(buffer: Buffer) -> Block:
    """Make a block of the buffer's rows, without those of weight 0 or, if data.missing says so,
    with missing values. Raises InputError for a value that is not allowed."""
    data, rows = buffer.columns.data, buffer.filled
    block = torch.from_numpy(buffer.array)[:, :rows]
    if data.log_target:
        _take_logarithm(buffer, block[-1])
    absent = torch.from_numpy(buffer.absent)[:, :rows]
    groups = buffer.groups[:rows].copy() if data.split.group else None
    by_time = data.split.time or buffer.file.tested is not None
    tested = torch.from_numpy(buffer.tested[:rows].copy()) if by_time else None
    name, first = buffer.file.name, buffer.first_row
    whole = Block(buffer.names, block, name, first, groups=groups, tested=tested)
    weights, finite = block[0], math.isfinite(block.sum())  # NaN and infinity survive a sum
    if finite and not absent.any() and weights.min() > 0:
        return whole
    # if numbers are imputed, only a row's weight and target must be present
    nan, wrong = (block[[0, -1]] if buffer.imputes else block).isnan(), block.isinf()
    wrong[0] |= weights < 0
    if data.missing == "error":
        wrong = torch.cat([wrong | nan, absent])
    _refuse_first(buffer, wrong)
    kept = ~(nan.any(dim=0) | absent.any(dim=0)) & (weights != 0)
    if kept.all():
        return whole
    groups = groups if groups is None else groups[kept.numpy()]
    tested = tested if tested is None else tested[kept]
    return replace(whole, rows=block[:, kept], kept=kept, groups=groups, tested=tested)


def _take_logarithm(buffer: Buffer, target: torch.Tensor) -> None:
    """Take the logarithm of a block's target in place. Raises InputError for a value <= 0."""
    if (target <= 0).any():
        row = int((target <= 0).int().argmax())
        place = buffer.place_of(buffer.columns.data.target, buffer.first_row + row)
        raise must_be(place, "above 0 with data.log_target", f"{float(target[row]):g}")
    target.log_()


def _refuse_first(buffer: Buffer, wrong: torch.Tensor) -> None:
    """Raise InputError for the wrong value in the first such row, if there is any."""
    if not wrong.any():
        return
    row = int(wrong.any(dim=0).int().argmax())
    place = int(wrong[:, row].int().argmax())
    columns = buffer.columns
    dates = {part: column for column in columns.dates for part in parts_of(column)}
    names = (
        columns.data.weight,
        *(dates.get(n, n) for n in buffer.names),
        *buffer.levels,
        columns.data.split.time,
    )
    value = buffer.array[place, row] if place < len(buffer.array) else np.nan
    nan = bool(np.isnan(value))
    found = "a missing value (empty or NaN)" if nan else str(value)
    hint = "; data.missing: drop leaves such rows out, impute fills in features" if nan else ""
    allowed = "a finite number" if place < len(buffer.array) else "a level"
    allowed = "a date or time" if names[place] in columns.dates else allowed
    allowed = "a date or a number" if place == len(names) - 1 else allowed
    allowed = allowed if place else "a finite weight >= 0"
    where = buffer.place_of(str(names[place]), buffer.first_row + row)
    raise must_be(where, allowed, found, hint)


def _has_missing(values: pa.Array) -> bool:
    return values.null_count > 0 or math.isnan(as_numbers(values).sum())  # NaN survives a sum
