"""Rows to one summary: known files are taken from the cache, new ones are compressed by tasks.

How files are batched depends on how many workers there are; what they are merged with, never.
"""

from collections import deque
from collections.abc import Iterator

from prefect.futures import PrefectFuture

from plumbline.config.schema import SyntheticData, TableData
from plumbline.data.batches import count_rows
from plumbline.data.blocks import Source
from plumbline.data.files import DataFile
from plumbline.data.table import Table
from plumbline.linear.dataset import Dataset
from plumbline.linear.summary import Summary, combine
from tasks.artifacts import ProgressArtifact
from tasks.cluster import clear_errors, cores
from tasks.factor_cache import FactorCache
from tasks.parts import Reading, compress_files, label_of, only, part_key, showing
from tasks.screen import bar

# Bytes of files in a task. Fewer are not worth a task run of their own, more make a long wait of
# what a lost worker had not finished. In between there are four tasks a worker, so that all end
# at about the same time.
LEAST_BATCH, MOST_BATCH, BATCHES_A_WORKER = 16 << 20, 1 << 30, 4
FILES_A_BATCH = 64  # at most: the command holds the summaries of some batches at a time
COUNTED_BYTES = 256 << 20  # of CSV files that are left out and were never read


def compress_all(source: Source, data: SyntheticData | TableData, device: str) -> Dataset:
    """Compress every part that is new, take the others from the cache, merge.

    Raises:
        InputError: the data is wrong.
        OSError: a file cannot be read, or the cluster lost work for good.
    """
    with bar("Reading rows", None) as shown, showing(shown.show) as reading, clear_errors():
        compression = _Compression(source, data, device, reading)
        label = label_of(source, source.parts)
        whole = combine(compression.summaries(), f"the data ({label})")
        left_out = compression.count_left_out()
    if compression.counts["files_new"]:
        compression.cache.delete_old()
    counts = {**compression.counts, "rows_dropped": whole.dropped, **left_out}
    return Dataset.of(whole, data, source, counts)


class _Compression:
    """One source on its way through the tasks, some batches of new parts at a time."""

    def __init__(
        self, source: Source, data: SyntheticData | TableData, device: str, reading: Reading
    ) -> None:
        self.source, self.device, self.reading = source, device, reading
        self.split = data.split
        self.half_life = data.half_life
        self.cache = FactorCache.current()
        self.progress = ProgressArtifact("reading", "Files compressed", len(source.parts))
        self.counts = {"files_new": 0, "files_reused": 0, "rows_new": 0, "rows_reused": 0}
        self.keys = {part: part_key(source, part, self.split) for part in source.parts}
        self.cache.mark_used(self.keys.values())
        new = [part for part, key in self.keys.items() if not self.cache.holds(key)]
        self.new = frozenset(new)
        self.batches = self._batches(new)
        self.under_way: deque[PrefectFuture[list[Summary]]] = deque()
        for _ in range(2 * cores()):
            self._submit_next()

    def summaries(self) -> Iterator[Summary]:
        """The summary of every part, in order; its rows weighted, if they have a half-life."""
        compressed = self._compressed()
        for age, part in zip(reversed(range(len(self.keys))), self.keys, strict=True):
            new = part in self.new
            summary = next(compressed) if new else self.cache.read(self.keys[part])
            if summary is None:  # damaged since it was written
                new, (summary,) = True, self._submit([part]).result()
            self._count(summary, new)
            yield summary.aged(age, self.half_life)

    def _compressed(self) -> Iterator[Summary]:
        """The summaries of the new parts, in order."""
        while self.under_way:
            summaries = self.under_way.popleft().result()
            self._submit_next()
            yield from summaries

    def _submit_next(self) -> None:
        if batch := next(self.batches, None):
            self.under_way.append(self._submit(batch))

    def _submit(self, parts: list[str]) -> PrefectFuture[list[Summary]]:
        source, keys = only(self.source, parts), {part: self.keys[part] for part in parts}
        label = label_of(source, parts)
        return compress_files.submit(source, keys, self.split, self.device, label)

    def _batches(self, parts: list[str]) -> Iterator[list[str]]:
        """Parts in their order, those of some size together."""
        sizes = [self._bytes(part) for part in parts]
        share = sum(sizes) // (BATCHES_A_WORKER * cores())
        most = min(max(share, LEAST_BATCH), MOST_BATCH)
        batch, total = [], 0
        for part, size in zip(parts, sizes, strict=True):
            if batch and (total + size > most or len(batch) == FILES_A_BATCH):
                yield batch
                batch, total = [], 0
            batch.append(part)
            total += size
        if batch:
            yield batch

    def _bytes(self, part: str) -> int:
        """The size of a file; 0 for generated rows, which are one part."""
        return self.source.file(part).size if isinstance(self.source, Table) else 0

    def _count(self, summary: Summary, new: bool) -> None:
        which = "new" if new else "reused"
        self.counts[f"files_{which}"] += 1
        self.counts[f"rows_{which}"] += summary.rows + summary.dropped
        self.progress.show(self.counts["files_new"] + self.counts["files_reused"])
        self.reading.show(max(self.reading.rows, self.counts["rows_new"]))  # read elsewhere, too

    def count_left_out(self) -> dict[str, int]:
        """How many files and rows the window leaves out.

        Rows are known from earlier passes and from Parquet files; those of other CSV files are
        counted where that is little work, and otherwise rows_left_out is missing.
        """
        if not isinstance(self.source, Table):
            return {}
        left_out = self.source.left_out
        known = [self._rows_read_before(file) for file in left_out]
        unread = [file for file, rows in zip(left_out, known, strict=True) if rows is None]
        counts = {"files_left_out": len(left_out)}
        if sum(file.size for file in unread if file.is_csv) > COUNTED_BYTES:
            return counts
        rows = [rows for rows in known if rows is not None]
        rows += [count_rows(file, self.source.columns.dialect) for file in unread]
        return counts if None in rows else {**counts, "rows_left_out": sum(rows)}

    def _rows_read_before(self, file: DataFile) -> int | None:
        part = self.cache.read(part_key(self.source, file.uri, self.split))
        return part.rows + part.dropped if part else None
