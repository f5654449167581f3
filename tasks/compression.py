"""Rows to R factors: a Prefect task for each file that is new, the cache for the others."""

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any

from prefect import task, unmapped
from prefect.futures import PrefectFuture
from prefect.results import get_result_store

from regression.batches import count_rows
from regression.compress import VERSION, compress
from regression.compressed import Compressed, combine_group, combine_groups
from regression.config import Split, SyntheticData, TableData
from regression.factor import MERGED_AT_ONCE
from regression.files import DataFile
from regression.prepared import Prepared
from regression.rows import Source
from regression.table import Table
from tasks.artifacts import ProgressArtifact
from tasks.factor_cache import mark_used
from tasks.screen import bar

COUNTED_BYTES = 1 << 28  # of CSV files that are left out and were never read


@dataclass
class Reading:
    """What mapped tasks share: how many rows are read, and whether to stop."""

    show: Any
    rows: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def advance(self, rows: int) -> None:
        """Count rows; raises InterruptedError once the command was interrupted."""
        if self.stopped.is_set():
            raise InterruptedError("reading was interrupted")
        with self._lock:
            self.rows += rows
            self.show(self.rows)


def cache_key(source: Source, part: str, split: Split) -> str | None:
    """What a part's result depends on; None for generated rows, which are not kept.

    The file's identity (path, size, modification time), what is read of it, the split and the
    version of the computation. The device is not in it: the factors of any are equally good.
    """
    if not isinstance(source, Table):
        return None
    told = [
        VERSION,
        asdict(source.file(part)),
        source.missing,
        split.model_dump(),
        source.columns.kinds,
        source.columns.numeric,
        source.columns.categorical,
        sorted(source.columns.whole),
    ]
    return "factor-" + hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _may_pass(task: Any, task_run: Any, state: Any) -> bool:
    """Retry what may go away (a file that cannot be read just now), never wrong data."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, OSError) and not isinstance(error, InterruptedError)


@task(
    name="compress",
    task_run_name="compress {part}",
    cache_key_fn=lambda context, given: cache_key(given["source"], given["part"], given["split"]),
    persist_result=True,
    result_serializer="json",
    cache_result_in_memory=False,
    retries=3,
    retry_delay_seconds=[0.2, 1, 5],
    retry_condition_fn=_may_pass,
)
def compress_part(
    source: Source, part: str, split: Split, device: str, reading: Reading
) -> dict[str, Any]:
    """One pass over one part; plain values, so that the cache holds JSON and never a pickle."""
    return compress(source, part, split, device, reading.advance).to_dict()


@task
def merge(groups: Iterator[Compressed]) -> Compressed:
    """The whole of all parts, in their order."""
    return combine_groups(groups)


def compress_all(source: Source, data: SyntheticData | TableData, device: str) -> Prepared:
    """Compress every part that is new, take the others from the cache, merge."""
    with bar("Reading rows", None) as shown:
        reading = Reading(shown.show)
        waves = _Waves(source, data, device, reading)
        try:
            whole = merge(waves.groups())
        except BaseException:
            reading.stopped.set()
            raise
    counts = {**waves.counts, "rows_dropped": whole.dropped, **waves.count_left_out()}
    return Prepared.of(whole, data, source, counts)


class _Waves:
    """The parts, 64 at a time: what is known is read from the cache, what is new is mapped.

    A known part gets no task run, which would cost more than reading its result; and 64 known parts
    in a row are kept as one more result, merged.
    """

    def __init__(
        self, source: Source, data: SyntheticData | TableData, device: str, reading: Reading
    ) -> None:
        self.source, self.device, self.reading = source, device, reading
        self.split = Split(**{name: getattr(data, name) for name in Split.model_fields})
        self.kept = isinstance(source, Table)
        window = data.window if isinstance(data, TableData) else None
        self.half_life = window.half_life if window else None
        self.store = get_result_store().update_for_task(compress_part)
        self.progress = ProgressArtifact("reading", "Files compressed", len(source.parts))
        self.counts = {"files_new": 0, "files_reused": 0, "rows_new": 0, "rows_reused": 0}

    def groups(self) -> Iterator[Compressed]:
        """The merged factors of every 64 parts, in order.

        Groups begin at every 64th of all files, so that a window that moves on leaves them as they
        were: known ones stay known.
        """
        placed = zip(self.source.places, self.source.parts, strict=True)
        last = self.source.places[-1]
        for number, wave in groupby(placed, key=lambda each: each[0] // MERGED_AT_ONCE):
            group = self._group([part for _, part in wave])
            end = min((number + 1) * MERGED_AT_ONCE - 1, last)
            yield group.weighted(self._weight(last - end)) if self.half_life else group

    def _weight(self, age: int) -> float:
        """Of a row with so many files after its own."""
        return 2.0 ** (-age / self.half_life)

    def _group(self, wave: list[str]) -> Compressed:
        keys = [cache_key(self.source, part, self.split) for part in wave]
        whole_wave = self.kept and len(wave) == MERGED_AT_ONCE
        told = "".join([*keys, str(self.half_life or "")]) if whole_wave else ""
        key = "group-" + hashlib.sha256(told.encode()).hexdigest() if whole_wave else None
        mark_used(self.store, [each for each in (key, *keys) if each])
        if key and (values := self._known(key)):
            group = Compressed.from_dict(values)
            self._count("reused", len(wave), group)
            return group
        parts = self._parts(wave, keys)
        if self.half_life:  # within the group: the last file's rows count one
            parts = [p.weighted(self._weight(len(parts) - 1 - i)) for i, p in enumerate(parts)]
        group = combine_group(parts)
        if key:
            self.store.write(group.to_dict(), key=key)
        return group

    def _parts(self, wave: list[str], keys: list[str | None]) -> list[Compressed]:
        known = [self._known(key) if key else None for key in keys]
        new = [part for part, values in zip(wave, known, strict=True) if values is None]
        futures = iter(self._start(new))
        parts = []
        for values in known:
            part = Compressed.from_dict(next(futures).result() if values is None else values)
            self._count("new" if values is None else "reused", 1, part)
            parts.append(part)
        return parts

    def _start(self, new: list[str]) -> list[PrefectFuture]:
        if not new:
            return []
        work = compress_part
        if not self.kept:
            work = compress_part.with_options(persist_result=False, cache_key_fn=None)
        shared = [unmapped(each) for each in (self.split, self.device, self.reading)]
        return work.map(unmapped(self.source), new, *shared)

    def _known(self, key: str) -> dict[str, Any] | None:
        """A cached result; None where there is none."""
        try:
            return self.store.read(key).result
        except ValueError:  # what Prefect's local storage raises for a path that does not exist
            return None

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
        rows = [rows for rows in known if rows is not None] + [count_rows(file) for file in unread]
        return counts if None in rows else {**counts, "rows_left_out": sum(rows)}

    def _rows_read_before(self, file: DataFile) -> int | None:
        values = self._known(cache_key(self.source, file.uri, self.split))
        part = Compressed.from_dict(values) if values else None
        return part.rows + part.dropped if part else None

    def _count(self, share: str, files: int, part: Compressed) -> None:
        self.counts[f"files_{share}"] += files
        self.counts[f"rows_{share}"] += part.rows + part.dropped
        self.progress.show(self.counts["files_new"] + self.counts["files_reused"])
