"""Rows to R factors: what is known is taken from the result store, what is new goes to tasks.

Files are compressed in batches of some size and merged in groups of 64, by eights. How they are
batched depends on how many workers there are; what they are merged with, never.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby, pairwise

from prefect.futures import PrefectFuture

from plumbline.config.schema import Split, SyntheticData, TableData
from plumbline.data.batches import count_rows
from plumbline.data.blocks import Source
from plumbline.data.files import DataFile
from plumbline.data.table import Table
from plumbline.linear.dataset import Dataset
from plumbline.linear.factor import MERGED_AT_ONCE
from plumbline.linear.summary import GROUP, Summary, combine_groups
from tasks.artifacts import ProgressArtifact
from tasks.cluster import clear_errors, cores
from tasks.factor_cache import delete_old, mark_used, stored
from tasks.parts import (
    Group,
    Keys,
    Reading,
    compress_files,
    compress_group,
    group_key,
    known,
    part_key,
    result_store,
    showing,
    weight,
)
from tasks.screen import bar

# Bytes of files in a task. Fewer are not worth a task run of their own, more make a long wait of
# what a lost worker had not finished. In between there are four tasks a worker, so that all end
# at about the same time.
LEAST_BATCH, MOST_BATCH, BATCHES_A_WORKER = 16 << 20, 1 << 30, 4
COUNTED_BYTES = 256 << 20  # of CSV files that are left out and were never read


def compress_all(source: Source, data: SyntheticData | TableData, device: str) -> Dataset:
    """Compress every part that is new, take the others from the result store, merge.

    Raises:
        InputError: the data is wrong.
        OSError: a file cannot be read, or the cluster lost work for good.
    """
    with bar("Reading rows", None) as shown, showing(shown.show) as reading, clear_errors():
        compression = _Compression(source, data, device, reading)
        whole = combine_groups(compression.groups(), f"the data ({source.label})")
        left_out = compression.count_left_out()
    if compression.counts["files_new"]:
        delete_old(compression.store)
    counts = {**compression.counts, "rows_dropped": whole.dropped, **left_out}
    return Dataset.of(whole, data, source, counts)


@dataclass
class _Wave:
    """Up to 64 consecutive parts on their way to one result.

    Attributes:
        eights: they and their keys; those that are merged first together.
        weight: of a row of the last of them.
        key: where their merged result is kept.
        new: those that no result is stored of.
        batches: tasks that compress the new ones, where one is not enough.
        group: the task that compresses what is left and merges; None where the result is kept.
    """

    eights: list[Keys]
    weight: float
    key: str | None
    new: list[str]
    batches: list[PrefectFuture] = field(default_factory=list)
    group: PrefectFuture | None = None

    @property
    def keys(self) -> Keys:
        """Of all."""
        return dict(chain(*(keys.items() for keys in self.eights)))


class _Compression:
    """One source on its way through the tasks, a wave of 64 parts after the other."""

    def __init__(
        self, source: Source, data: SyntheticData | TableData, device: str, reading: Reading
    ) -> None:
        self.source, self.device, self.reading = source, device, reading
        self.split = Split(**{name: getattr(data, name) for name in Split.model_fields})
        window = data.window if isinstance(data, TableData) else None
        self.half_life = window.half_life if window else None
        self.store = result_store()
        self.progress = ProgressArtifact("reading", "Files compressed", len(source.parts))
        self.counts = {"files_new": 0, "files_reused": 0, "rows_new": 0, "rows_reused": 0}
        self.waves = list(self._planned())
        workers = cores()
        share = self._bytes(chain(*(w.new for w in self.waves))) // (BATCHES_A_WORKER * workers)
        self.batch_bytes = min(max(share, LEAST_BATCH), MOST_BATCH)
        self.ahead = 2 * workers

    def groups(self) -> Iterator[Summary]:
        """The merged factors of every wave, in order; some waves are under way at a time."""
        under_way: deque[_Wave] = deque()
        # A wave is merged once the next one's batches are in the queue: what merges waits for its
        # batches, and should find them done.
        for wave, _ in pairwise(chain(map(self._begin, self.waves), [None])):
            under_way.append(self._merge(wave))
            if len(under_way) > self.ahead:
                yield self._finish(under_way.popleft())
        while under_way:
            yield self._finish(under_way.popleft())

    def _planned(self) -> Iterator[_Wave]:
        """Waves begin at every 64th of all files, so that a window that moves on leaves them as
        they were: known ones stay known."""
        placed = zip(self.source.places, self.source.parts, strict=True)
        last = self.source.places[-1]
        for number, wave in groupby(placed, key=lambda each: each[0] // GROUP):
            eights = groupby(wave, key=lambda each: each[0] // MERGED_AT_ONCE)
            keys = [{part: self._key(part) for _, part in eight} for _, eight in eights]
            end = min((number + 1) * GROUP - 1, last)
            yield self._plan(keys, weight(last - end, self.half_life))

    def _plan(self, eights: list[Keys], weight: float) -> _Wave:
        each = [key for keys in eights for key in keys.values()]
        together = [group_key([*keys.values()], MERGED_AT_ONCE, self.half_life) for keys in eights]
        key = group_key(each, GROUP, self.half_life)
        mark_used(self.store, [used for used in (key, *together, *each) if used])
        if self._stored(key):
            return _Wave(eights, weight, key, [])
        unknown = [eights[i] for i, used in enumerate(together) if not self._stored(used)]
        new = [part for keys in unknown for part, k in keys.items() if not self._stored(k)]
        return _Wave(eights, weight, None, new)

    def _key(self, part: str) -> str | None:
        return part_key(self.source, part, self.split)

    def _stored(self, key: str | None) -> bool:
        return key is not None and stored(self.store, key)

    def _begin(self, wave: _Wave) -> _Wave:
        """Submit the batches of a wave, unless its merging task can read them on the way."""
        batches = list(self._batches(wave.new))
        if len(batches) > 1:
            keys, how = wave.keys, (self.split, self.device)
            wave.batches = [
                compress_files.submit(self.source.only(batch), {p: keys[p] for p in batch}, *how)
                for batch in batches
            ]
        return wave

    def _merge(self, wave: _Wave) -> _Wave:
        if wave.key is None:
            source, parts = self.source.only(list(wave.keys)), (wave.eights, wave.new)
            how = self.split, self.device, self.half_life
            wave.group = compress_group.submit(source, *parts, *how, wave.batches)
        return wave

    def _finish(self, wave: _Wave) -> Summary:
        for batch in wave.batches:
            batch.result()  # what went wrong there, before what followed from it
        if wave.group:
            group: Group = wave.group.result()
            new = group.new.union(wave.new)
        elif factors := known(self.store, wave.key):
            group = Group(factors, {"": factors.rows + factors.dropped}, frozenset())
            new = frozenset()
        else:  # damaged since it was written
            wave.key = None
            return self._finish(self._merge(wave))
        self._count(wave, group, new)
        return group.factors.weighted(wave.weight) if self.half_life else group.factors

    def _count(self, wave: _Wave, group: Group, new: frozenset[str]) -> None:
        rows = sum(count for part, count in group.rows.items() if part in new)
        self.counts["files_new"] += len(new)
        self.counts["files_reused"] += len(wave.keys) - len(new)
        self.counts["rows_new"] += rows
        self.counts["rows_reused"] += sum(group.rows.values()) - rows
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
        part = known(self.store, part_key(self.source, file.uri, self.split))
        return part.rows + part.dropped if part else None

    def _batches(self, parts: Sequence[str]) -> Iterator[list[str]]:
        """Consecutive parts of some size together."""
        batch: list[str] = []
        for part in parts:
            if batch and self._bytes([*batch, part]) > self.batch_bytes:
                yield batch
                batch = []
            batch.append(part)
        if batch:
            yield batch

    def _bytes(self, parts: Iterator[str] | Sequence[str]) -> int:
        """Of generated rows none: they have one part."""
        table = self.source if isinstance(self.source, Table) else None
        return sum(table.file(part).size for part in parts) if table else 0
