"""Prefect tasks that compress the files of a table, each to a summary.

Summaries of known files come from the cache. New files are compressed by tasks, in threads or on
the workers of a Ray cluster. The number of workers decides which files share a task, but not how
their summaries are merged. This module does not import mlflow, so that workers start fast.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import asdict, replace
from itertools import islice
from typing import Any

from prefect import task
from prefect.futures import PrefectFuture

from plumbline.config.schema import Split
from plumbline.data.batches import count_rows
from plumbline.data.files import DataFile
from plumbline.data.sources import Table
from plumbline.linear.compress import VERSION, compress
from plumbline.linear.sample import most_of_each
from plumbline.linear.summary import Summary
from tasks.artifacts import ProgressArtifact
from tasks.cluster import connected, cores
from tasks.factor_cache import FactorCache, key_of

COUNTED_BYTES = 256 << 20  # the most unread CSV to count rows in, of files outside the window
# Bytes of files in a task. Fewer are not worth a task run, and of more a lost worker loses too much
# work. In between, each worker gets four tasks, so that all end at about the same time.
LEAST_BATCH, MOST_BATCH, BATCHES_A_WORKER = 16 << 20, 1 << 30, 4
FILES_A_BATCH = 64  # at most, because the command holds the summaries of several batches
# Called with the number of rows after every block. Prefect copies the context to its threads. A Ray
# worker has the default, which does nothing; Ray itself stops it.
report_rows: ContextVar[Callable[[int], None]] = ContextVar(
    "report_rows", default=lambda rows: None
)


class Summaries:
    """The summaries of a table's files; new files are compressed, some batches at a time.

    Attributes:
        counts: the numbers of files and rows that were new and that were reused so far.
    """

    def __init__(self, table: Table, split: Split, device: str) -> None:
        self.table, self.split, self.device = table, split, device
        self.cache, self.began = FactorCache.current(), time.time()
        self.keys = {file: part_key(table, file, split) for file in table.files}
        # classes need only a sample
        self.most_rows = {} if table.columns.has_classes else most_of_each(table.files)
        self.counts = {"files_new": 0, "files_reused": 0, "rows_new": 0, "rows_reused": 0}

    def in_order(self, half_life: float | None) -> Iterator[Summary]:
        """Yield the summary of every file, weighted by its age if there is a half-life."""
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
        """Submit a task that compresses these files; only they are sent along."""
        table, keys = replace(self.table, files=tuple(files), left_out=()), self.keys
        kept = {keys[file]: self.most_rows.get(file.uri, 0) for file in files}
        return compress_files.submit(table, kept, self.split, self.device, label_of(files))

    def _count(self, summary: Summary, which: str) -> None:
        self.counts[f"files_{which}"] += 1
        self.counts[f"rows_{which}"] += _rows_of(summary)
        if which == "new" and connected():
            report_rows.get()(_rows_of(summary))

    def left_out(self) -> dict[str, int]:
        """The numbers of files and rows outside the window.

        Rows are known from earlier passes and from the metadata of Parquet files. Those of CSV
        files are counted if that is little work; otherwise rows_left_out is missing.
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
    """The cache key of a file's summary.

    It depends on the file's identity (path, size, modification time), what is read of it, the split
    and the version of the computation, but not on the device, whose factors are equally good.
    """
    c, data = table.columns, table.columns.data
    what = [c.kinds, c.numeric, c.categorical, sorted(c.whole), sorted(c.texts), asdict(c.dialect)]
    held_out = [data.split.model_dump(), split.model_dump()]
    keys = [data.missing, data.weight, data.log_target, *held_out]
    return key_of("", VERSION, asdict(file), *keys, *what)


def _rows_of(summary: Summary) -> int:
    return summary.rows + summary.dropped


def _may_pass(task: Any, task_run: Any, state: Any) -> bool:
    """Whether to retry: after a temporary failure to read a file, but not for wrong data."""
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
    """Compress each file of a table and store its summary in the cache.

    A retry only reads files whose summary is not stored yet.

    Args:
        table: has these files only.
        kept: each file's cache key, and the most of its rows that the summary may keep.
        split: which rows are held out.
        device: where blocks are folded into R.
        label: describes the files in the task's name.
    """
    given = zip(table.parts, kept.items(), strict=True)
    return [_summary_of(table, part, *each, split, device) for part, each in given]


def _summary_of(
    table: Table, part: str, key: str, most_rows: int, split: Split, device: str
) -> Summary:
    """A file's summary, from the cache or stored there.

    This is not part of the task's body, because Ray pickles that by value, and a context variable
    cannot be pickled; this function is pickled by name.
    """
    cache = FactorCache.current()
    summary = cache.read(key)
    if summary is None:
        summary = compress(table, part, split, device, report_rows.get(), most_rows)
        cache.write(key, summary.to_bytes())
    return summary


def batches_of(files: Sequence[DataFile]) -> Iterator[list[DataFile]]:
    """Yield the files of each task: in their order, and together if they are small."""
    share = sum(file.size for file in files) // (BATCHES_A_WORKER * cores())
    most = min(max(share, LEAST_BATCH), MOST_BATCH)
    batch, total = [], 0
    for file in files:
        if batch and (total + file.size > most or len(batch) == FILES_A_BATCH):
            yield batch
            batch, total = [], 0
        batch.append(file)
        total += file.size
    if batch:
        yield batch


def label_of(files: Sequence[DataFile]) -> str:
    """Describe files, for example as `part-0001.parquet and 63 more`."""
    return files[0].name + (f" and {len(files) - 1} more" if len(files) > 1 else "")
