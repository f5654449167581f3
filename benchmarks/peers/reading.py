"""How the peers read Parquet: two threads, a file each, float32 as it is stored."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

THREADS = 2
BATCH = 65_536


def read_only(folder: Path) -> None:
    """Decode every file and do nothing with it."""

    def read(path: Path) -> None:
        for _ in pq.ParquetFile(path).iter_batches(BATCH, use_threads=False):
            pass

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(read, paths(folder)))


def blocks(folder: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(x, y) of up to 65,536 rows at a time: memory does not grow."""
    for path in paths(folder):
        yield from file_blocks(path)


def file_blocks(path: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(x, y) of one file's rows, up to 65,536 at a time."""
    for batch in pq.ParquetFile(path).iter_batches(BATCH, use_threads=False):
        table = np.empty((batch.num_columns, batch.num_rows), np.float32)
        for i, column in enumerate(batch.columns):
            table[i] = column.to_numpy()
        yield table[:-1].T, table[-1]


def everything(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) of all rows, in memory, read by two threads straight to their place."""
    files = paths(folder)
    counts = [pq.read_metadata(path).num_rows for path in files]
    ends = np.cumsum(counts)
    width = pq.read_metadata(files[0]).num_columns
    x, y = np.empty((ends[-1], width - 1), np.float32), np.empty(ends[-1], np.float32)

    def read(number: int) -> None:
        start = ends[number] - counts[number]
        for part, target in file_blocks(files[number]):
            x[start : start + len(part)], y[start : start + len(part)] = part, target
            start += len(part)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(read, range(len(files))))
    return x, y


def paths(folder: Path) -> list[Path]:
    """The folder's files in order."""
    return sorted(folder.glob("*.parquet"))
