"""Prefect tasks that read: where rows come from, one summary of each file, and the whole.

Summaries of known files are taken from the cache, new files are compressed by tasks, on threads
here or on workers of a Ray cluster. How files are batched depends on how many workers there are;
what they are merged with, never. This module imports no mlflow, so that workers start fast.
"""

import hashlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, replace
from itertools import islice
from typing import Any

from prefect import task
from prefect.futures import PrefectFuture

from plumbline.config.schema import Config, Split, SyntheticData, TableData
from plumbline.data.batches import count_rows
from plumbline.data.blocks import Source
from plumbline.data.files import DataFile
from plumbline.data.inputs import check_inputs
from plumbline.data.synthetic import Synthetic
from plumbline.data.table import Table, open_table
from plumbline.errors import InputError, TooManyLevelsError
from plumbline.linear.compress import VERSION, compress
from plumbline.linear.dataset import Dataset
from plumbline.linear.sample import most_of_each
from plumbline.linear.summary import Summary, combine, within_levels
from tasks.artifacts import ProgressArtifact
from tasks.batching import batches_of, label_of
from tasks.cluster import clear_errors, connected, cores, map_parts
from tasks.factor_cache import FactorCache
from tasks.levels import with_known_levels
from tasks.screen import bar, note, warn

COUNTED_BYTES = 256 << 20  # of CSV files that are left out and were never read

OnRows = Callable[[int], None]


@task
def generate(data: SyntheticData) -> Synthetic:
    """Rows that are drawn when they are asked for."""
    return Synthetic(data)


@task
def read(data: TableData) -> Table:
    """The files of a table and the columns to read; the rows stay on disk."""
    table = open_table(data)
    columns = table.columns
    if columns.left_out:
        named = [f"{name or 'without a name'} ({why})" for name, why in columns.left_out.items()]
        note(f"columns left out, unless data.features names them: {'; '.join(named)}")
    if data.limit:
        note(f"at most the first {data.limit:,} rows are read (data.limit)")
    for each in columns.warnings:
        warn(each)
    return table


def resolved(config: Config) -> Config:
    """The configuration with what the type of the target decides. If that cannot be seen it is as
    it was, and reading the rows will say why."""
    with suppress(InputError, OSError):
        return check_inputs(config)
    return config


def source_of(data: SyntheticData | TableData) -> Source:
    """Generate or read, as the configuration says."""
    return generate(data) if isinstance(data, SyntheticData) else read(data)


def compress_all(source: Source, data: SyntheticData | TableData, device: str) -> Dataset:
    """Compress the rows that are new, take the summaries of other files from the cache, merge.

    Raises:
        InputError: the data is wrong.
        OSError: a file cannot be read, or the cluster lost work for good.
    """
    split = data.holding_out
    with bar("Reading rows", None) as shown, _counting(shown) as on_rows, clear_errors():
        if isinstance(source, Table):
            whole, source, counts = _summarised(source, data, device)
        else:
            whole = combine(
                [compress_generated(source, split, device, on_rows)], "the data (generated rows)"
            )
            counts = {"files_new": 1, "files_reused": 0, "rows_new": whole.rows, "rows_reused": 0}
    counts["rows_dropped"] = whole.dropped
    found = Dataset.of(whole, data, source, counts, map_parts)
    if found.encoding.holes:
        named = ", ".join(found.encoding.holes)
        note(f"missing numbers are read as the training rows' mean, with an indicator: {named}")
    return found


def _summarised(
    table: Table, data: TableData, device: str
) -> tuple[Summary, Table, dict[str, int]]:
    """A table's rows, the lists of levels by which they were read, and the counts of files and
    rows. If a column turns out to have too many levels, its list is made and the rows read anew."""
    table = with_known_levels(table, data)
    files = _Summaries(table, data.holding_out, device)
    parts = within_levels(files.in_order(data.half_life), table.columns)
    try:
        whole = combine(parts, f"the data ({label_of(table.files)})")
    except TooManyLevelsError as found:
        return _summarised(table.counting(found.column), data, device)
    return whole, table, {**files.counts, **files.left_out()}


@task(name="compress", task_run_name="compress generated rows")
def compress_generated(source: Synthetic, split: Split, device: str, on_rows: OnRows) -> Summary:
    """One pass over generated rows, which are drawn for it."""
    return compress(source, *source.parts, split, device, on_rows)


# Prefect hands the context on to its threads. A worker elsewhere has none: it tells nobody and is
# stopped by Ray.
_on_rows: ContextVar[OnRows] = ContextVar("on_rows", default=lambda rows: None)


@contextmanager
def _counting(shown: Callable[..., None]) -> Iterator[OnRows]:
    """Show how many rows are read in this process; tasks that outlive the body are interrupted.

    Yields:
        What to call with the number of rows that were read; raises InterruptedError after the body.
    """
    total, over, lock = 0, False, threading.Lock()

    def on_rows(rows: int) -> None:
        nonlocal total
        if over:
            raise InterruptedError("reading was interrupted")
        with lock:
            total += rows
            shown(total)

    _on_rows.set(on_rows)
    try:
        yield on_rows
    finally:
        over = True


class _Summaries:
    """The summaries of a table's files: those of new ones are made, some batches at a time.

    Attributes:
        counts: the files and rows that were new and that were reused, so far.
    """

    def __init__(self, table: Table, split: Split, device: str) -> None:
        self.table, self.split, self.device = table, split, device
        self.cache, self.began = FactorCache.current(), time.time()
        self.keys = {file: part_key(table, file, split) for file in table.files}
        # classes need no more than a sample
        self.most_rows = {} if table.columns.has_classes else most_of_each(table.files)
        self.counts = {"files_new": 0, "files_reused": 0, "rows_new": 0, "rows_reused": 0}

    def in_order(self, half_life: float | None) -> Iterator[Summary]:
        """The summary of every file; its rows weighted, if they have a half-life."""
        new = {file: None for file, key in self.keys.items() if not self.cache.use(key)}
        batches = batches_of(list(new))
        under_way = deque(map(self._submit, islice(batches, 2 * cores())))
        artifact = ProgressArtifact("reading", "Files compressed", len(self.keys))
        made: deque[Summary] = deque()
        for number, (file, key) in enumerate(self.keys.items(), start=1):
            if file in new:
                if not made:
                    made.extend(under_way.popleft().result())
                    under_way.extend(map(self._submit, islice(batches, 1)))
                summary = made.popleft()
            else:
                summary = self.cache.read(key)
                if summary is None:  # damaged since it was written
                    new[file], (summary,) = None, self._submit([file]).result()
            self._count(summary, "new" if file in new else "reused")
            artifact.show(number)
            yield summary.aged(len(self.keys) - number, half_life)
        if new:
            self.cache.shrink(began=self.began)

    def _submit(self, files: list[DataFile]) -> PrefectFuture[list[Summary]]:
        """Have some files compressed, by a worker that is told of no others."""
        table, keys = replace(self.table, files=tuple(files), left_out=()), self.keys
        kept = {keys[file]: self.most_rows.get(file.uri, 0) for file in files}
        return compress_files.submit(table, kept, self.split, self.device, label_of(files))

    def _count(self, summary: Summary, which: str) -> None:
        self.counts[f"files_{which}"] += 1
        self.counts[f"rows_{which}"] += _rows_of(summary)
        if which == "new" and connected():
            _on_rows.get()(_rows_of(summary))

    def left_out(self) -> dict[str, int]:
        """How many files and rows the window leaves out.

        Rows are known from earlier passes and from Parquet files; those of other CSV files are
        counted where that is little work, and otherwise rows_left_out is missing.
        """
        rows: dict[DataFile, int | None] = {}
        for file in self.table.left_out:
            summary = self.cache.read(part_key(self.table, file, self.split))
            rows[file] = _rows_of(summary) if summary else None
        unread = [file for file, known in rows.items() if known is None]
        if sum(file.size for file in unread if file.is_csv) <= COUNTED_BYTES:
            rows |= {file: count_rows(file, self.table.columns.dialect) for file in unread}
        known = {} if None in rows.values() else {"rows_left_out": sum(rows.values())}
        return {"files_left_out": len(rows), **known}


def part_key(table: Table, file: DataFile, split: Split) -> str:
    """What a file's summary depends on.

    The file's identity (path, size, modification time), what is read of it, the split and the
    version of the computation. The device is not in it: the factors of any are equally good.
    """
    c = table.columns
    what = [c.kinds, c.numeric, c.categorical, sorted(c.whole), sorted(c.texts), asdict(c.dialect)]
    held_out = [c.split.model_dump(), split.model_dump()]
    keys = [table.missing, c.weight, c.log_target, *held_out]
    content = [VERSION, asdict(file), *keys, *what]
    return "factor-" + hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _rows_of(summary: Summary) -> int:
    return summary.rows + summary.dropped


def _may_pass(task: Any, task_run: Any, state: Any) -> bool:
    """Retry what may go away (a file that cannot be read just now), never wrong data."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, OSError) and not isinstance(error, InterruptedError)


@task(
    name="compress",
    task_run_name="compress {label}",
    persist_result=False,
    cache_result_in_memory=False,
    retries=3,
    retry_delay_seconds=[0.2, 1, 5],
    retry_condition_fn=_may_pass,
)
def compress_files(
    table: Table, kept: Mapping[str, int], split: Split, device: str, label: str
) -> list[Summary]:
    """Compress each file of a table and keep its summary.

    If this is another try, what the first one kept is not read again. A file whose worker died is.

    Args:
        table: has these files only.
        kept: where the summary of each file is kept, and how many of its rows at most.
        split: which rows are held out.
        device: where blocks are folded.
        label: the files in a few words, for the task's name.
    """
    given = zip(table.parts, kept.items(), strict=True)
    return [_summary_of(table, part, *each, split, device) for part, each in given]


def _summary_of(
    table: Table, part: str, key: str, most_rows: int, split: Split, device: str
) -> Summary:
    """A file's summary, which is kept. Ray sends a task's own body by value, and that can hold no
    context; this function it finds by its name."""
    cache = FactorCache.current()
    summary = cache.read(key)
    if summary is None:
        summary = compress(table, part, split, device, _on_rows.get(), most_rows)
        cache.write(key, summary.to_bytes())
    return summary
