"""Choose the rows to hold out by a hash of (seed, file, row number), independent of order.

For splits by group it is a hash of (seed, name of the group). For splits by time the latest rows
are the test rows, whatever their hash.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor

from plumbline.config.rows import SplitBy
from plumbline.config.schema import Split
from plumbline.data.batches import as_dates, as_numbers
from plumbline.data.blocks import WEIGHT, Block, Source
from plumbline.data.encoding import spelling_of
from plumbline.data.files import DataFile
from plumbline.errors import InputError

# in numpy, because torch has no logical shift of 64 bits
_GAMMA, _MIX1, _MIX2 = map(np.uint64, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def row_hashes(seed: int, name: str, first_row: int, rows: int, use: str) -> Tensor:
    """Uniform numbers in [0, 1), one per row: (rows,) float64.

    Args:
        seed: the configuration's data.seed.
        name: the file's path below data.path, so that moving a folder moves no row.
        first_row: the number of the first row, from 0.
        rows: the number of rows.
        use: what the numbers decide ("test", "validation", "fold", "sample"); uses are independent.
    """
    numbers = np.arange(first_row + 1, first_row + rows + 1, dtype=np.uint64)
    return _uniform(numbers, f"{seed}\0{name}\0{use}")


def group_numbers(names: pa.Array) -> np.ndarray:
    """A number for each name, 64 bits of its SHA-256: (n,) uint64.

    A missing name has a number, too. 7 and 7.0, which pandas writes once a value of the column is
    missing, are one name.
    """
    encoded = names.dictionary_encode(null_encoding="encode")
    plain = [name and spelling_of(name) for name in encoded.dictionary.to_pylist()]
    known = [hashlib.sha256(repr(name).encode()).digest()[:8] for name in plain]
    return np.frombuffer(b"".join(known), dtype="<u8")[encoded.indices.to_numpy()]


def _uniform(numbers: np.ndarray, key: str) -> Tensor:
    """Numbers in [0, 1) for (n,) uint64: (n,) float64.

    SplitMix64 (Steele, Lea and Flood 2014), keyed by a SHA-256.
    """
    digest = hashlib.sha256(key.encode()).digest()
    z = numbers * _GAMMA
    z += np.uint64(int.from_bytes(digest[:8], "little"))
    spare = np.empty_like(z)
    z ^= np.right_shift(z, 30, out=spare)
    z *= _MIX1
    z ^= np.right_shift(z, 27, out=spare)
    z *= _MIX2
    z ^= np.right_shift(z, 31, out=spare)
    z >>= 11
    return torch.from_numpy(z.view(np.int64) * 2.0**-53)  # int64 converts faster than uint64


def block_hashes(seed: int, block: Block, use: str) -> Tensor:
    """row_hashes of the rows that a block kept, or the same of their groups: (k,)."""
    if block.groups is not None and use != "sample":
        return _uniform(block.groups, f"{seed}\0\0{use}")
    numbers = row_hashes(seed, block.name, block.first_row, block.span, use)
    return numbers if block.kept is None else numbers[block.kept]


def times_in(split: SplitBy, batch: pa.RecordBatch) -> pd.Series:
    """The values to compare with the cut of a split, (n,): times in UTC or numbers.

    A missing value, or one that is not a date, is missing here.
    """
    values = batch.column(split.time)
    if not isinstance(split.cut, str):
        return pd.Series(as_numbers(values))
    column = as_dates(values).to_pandas()
    return pd.to_datetime(column, utc=True, errors="coerce", format="ISO8601")


def tested_rows(split: SplitBy, file: DataFile, batch: pa.RecordBatch) -> Tensor | None:
    """Which rows of a batch are held out by time, (n,) bool; None: they are drawn."""
    if split.time:
        return torch.from_numpy((times_in(split, batch) >= split.cut_value).to_numpy())
    return None if file.tested is None else torch.full((batch.num_rows,), file.tested)


def hold_out_newest(files: tuple[DataFile, ...], fraction: float) -> tuple[DataFile, ...]:
    """Mark the last files, sorted by path, as held out for testing.

    Their number is the one that comes nearest to a share of all bytes, so that no file has to be
    read; it is at least one and not all. If files are added at the end or removed at the
    beginning, a file that was trained on is never held out.

    Raises:
        InputError: there is only one file.
    """
    if len(files) == 1:
        raise InputError(
            "data.split: by time holds out the last files, so there must be at least two. Got only "
            f"{files[0].uri}: add files, or set data.split.column and cut."
        )
    before = list(accumulate(file.size for file in files))
    away = [abs((1 - fraction) * before[-1] - size) for size in before[:-1]]
    first = 1 + away.index(min(away))
    return tuple(replace(file, tested=i >= first) for i, file in enumerate(files))


def shares_of(split: Split, block: Block) -> dict[str, Tensor | None]:
    """Split the rows of a block into test, validation and training rows.

    Returns:
        A mask (k,) bool by the name of the share; test and validation only if the split has them,
        and train last. The mask of train is None if all rows are for training.
    """
    shares: dict[str, Tensor | None] = {}
    rest = None
    for name in ("test", "validation"):
        if fraction := getattr(split, f"{name}_fraction"):
            if name == "test" and block.tested is not None:
                drawn = block.tested
            else:
                drawn = block_hashes(split.seed, block, name) < fraction
            shares[name] = drawn if rest is None else drawn & rest
            rest = ~drawn if rest is None else rest & ~drawn
    return {**shares, "train": rest}


def share_rows(
    source: Source,
    split: Split,
    shares: Sequence[str],
    columns: Sequence[str],
    parts: Sequence[str] = (),
) -> Iterator[Tensor]:
    """Yield the rows of share_columns as copies: (k, len(columns)) float64."""
    for chosen in share_columns(source, split, shares, columns, parts):
        yield chosen.mT.clone(memory_format=torch.contiguous_format)


def share_columns(
    source: Source,
    split: Split,
    shares: Sequence[str],
    columns: Sequence[str],
    parts: Sequence[str] = (),
) -> Iterator[Tensor]:
    """Yield the rows of some shares in raw units, in the order of the parts.

    Args:
        source: of the rows.
        split: which rows are held out.
        shares: of "train", "validation" and "test".
        columns: the columns to take, WEIGHT for the rows' weights; a column that a block lacks is
            zeros.
        parts: which parts to read; default: all of them.

    Yields:
        (len(columns), k) float64, k > 0, possibly a view that the next one overwrites.

    Raises:
        InputError: the data is wrong. OSError: a file cannot be read, or has changed.
    """
    for part in parts or source.parts:
        for block in source.blocks(part):
            of = shares_of(split, block)
            chosen = [of[name] for name in shares if name in of]
            if not chosen:
                continue
            rows = _columns_of(block, columns)
            if masks := [mask for mask in chosen if mask is not None]:
                rows = rows[:, torch.stack(masks).any(dim=0)]
            if rows.shape[1]:
                yield rows


def _columns_of(block: Block, wanted: Sequence[str]) -> Tensor:
    """The wanted columns of a block, (len(wanted), k); zeros for a column that it lacks."""
    if (*block.columns,) == (*wanted,):
        return block.rows[1:]
    place = {name: i for i, name in enumerate((WEIGHT, *block.columns))}
    rows = block.rows[[place.get(name, 0) for name in wanted]]
    rows[[i for i, name in enumerate(wanted) if name not in place]] = 0
    return rows
