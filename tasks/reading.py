"""The Prefect tasks that read: the source of the rows, the levels to keep, the pass over all rows.

The counts of a file's levels are cached like its summary. So is the list of chosen levels, from
which later runs on other files of the same path start.
"""

import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
from prefect import task

from plumbline.config.schema import Config, Split, SyntheticData, TableData
from plumbline.data.blocks import Source
from plumbline.data.files import DataFile
from plumbline.data.inputs import check_inputs
from plumbline.data.levels import count_levels, with_levels
from plumbline.data.sources import Synthetic, Table, open_table
from plumbline.errors import InputError, TooManyLevelsError, listed
from plumbline.linear.compress import compress
from plumbline.linear.dataset import Dataset
from plumbline.linear.summary import Summary, combine, within_levels
from tasks.cluster import clear_errors, map_parts
from tasks.compressing import Summaries, label_of, report_rows
from tasks.factor_cache import FactorCache, key_of
from tasks.screen import bar, note, warn


@task
def generate(data: SyntheticData) -> Synthetic:
    """The source of generated rows, which are drawn when they are needed."""
    return Synthetic(data)


@task
def read(data: TableData) -> Table:
    """The files of a table and the columns to read; the rows stay on disk."""
    table = open_table(data)
    columns = table.columns
    if columns.left_out:
        named = [f"{name or 'without a name'} ({why})" for name, why in columns.left_out.items()]
        note(f"columns left out, unless data.features names them: {listed(named)}")
    if data.limit:
        note(f"at most the first {data.limit:,} rows are read (data.limit)")
    for each in columns.warnings:
        warn(each)
    return table


def resolved(config: Config) -> Config:
    """Resolve the configuration by the type of the target. If the type cannot be read, return the
    configuration unchanged: reading the rows will report why."""
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
    with _showing_rows(), clear_errors():
        if isinstance(source, Table):
            whole, source, counts = _summarised(source, data, device)
        else:
            summary = compress_generated(source, data.holding_out, device)
            whole = combine([summary], "the data (generated rows)")
            counts = {"files_new": 1, "files_reused": 0, "rows_new": whole.rows, "rows_reused": 0}
    counts["rows_dropped"] = whole.dropped
    found = Dataset.of(whole, data, source, counts, map_parts)
    if found.encoding.holes:
        named = listed(found.encoding.holes)
        note(f"missing numbers are read as the training rows' mean, with an indicator: {named}")
    return found


def _summarised(
    table: Table, data: TableData, device: str
) -> tuple[Summary, Table, dict[str, int]]:
    """A table's rows, the lists of levels by which they were read, and the counts of files and
    rows. If a column turns out to have too many levels, its list is made and the rows read anew."""
    table = with_known_levels(table, data)
    files = Summaries(table, data.holding_out, device)
    parts = within_levels(files.in_order(data.half_life), table.columns)
    try:
        whole = combine(parts, f"the data ({label_of(table.files)})")
    except TooManyLevelsError as found:
        return _summarised(table.counting(found.column), data, device)
    return whole, table, {**files.counts, **files.left_out()}


@task(name="compress", task_run_name="compress generated rows")
def compress_generated(source: Synthetic, split: Split, device: str) -> Summary:
    """One pass over generated rows, which are drawn for it."""
    return compress(source, *source.parts, split, device, report_rows.get())


@contextmanager
def _showing_rows() -> Iterator[None]:
    """Show how many rows this process has read so far.

    A task that reads on after the body has ended is interrupted by InterruptedError.
    """
    total, over, lock = 0, False, threading.Lock()
    with bar("Reading rows", None) as shown:

        def on_rows(rows: int) -> None:
            nonlocal total
            if over:
                raise InterruptedError("reading was interrupted")
            with lock:
                total += rows
                shown(total)

        report_rows.set(on_rows)
        try:
            yield
        finally:
            over = True


def with_known_levels(table: Table, data: TableData) -> Table:
    """The table with the levels of its columns that have many, or had in an earlier run."""
    columns, cache = table.columns, FactorCache.current()
    wanted = [n for n, given in columns.categorical.items() if n != data.target and not given]
    listed = {name: cache.read(_list_key(data, name), json.loads) for name in wanted}
    before = {name: levels for name, levels in listed.items() if levels}
    table = table.with_columns(many=columns.many.union(before))
    return choose_levels(table, data, before) if table.columns.many else table


@task(task_run_name="count levels")
def choose_levels(table: Table, data: TableData, before: Mapping[str, list[str]]) -> Table:
    """The most frequent levels in the training rows; those of new files are counted."""
    cache, split = FactorCache.current(), data.holding_out
    keys = {file.uri: _counts_key(table, file, split) for file in table.files}
    counts_of = partial(_counts, cache, table, split, keys)
    new = [part for part, key in keys.items() if not cache.use(key)]
    deque(map_parts(lambda part: len(counts_of(part)), new), maxlen=0)
    chosen, found = with_levels(table, map(counts_of, table.parts), before)
    for name, levels in found.items():
        kept = chosen.columns.categorical[name]
        cache.write(_list_key(data, name), json.dumps(kept).encode())
        note(
            f"column '{name}' has {levels:,} levels: the {len(kept) - 1:,} most frequent in the "
            "training rows are kept, the others are read as '(other)' (data.max_levels)"
        )
    return chosen


def _counts(
    cache: FactorCache, table: Table, split: Split, keys: Mapping[str, str], part: str
) -> pa.Table:
    """The counts of a file's levels, which are kept."""
    counts = cache.read(keys[part], lambda content: pq.read_table(pa.BufferReader(content)))
    if counts is None:
        counts, written = count_levels(table, split, part), pa.BufferOutputStream()
        pq.write_table(counts, written)
        cache.write(keys[part], written.getvalue().to_pybytes())
    return counts


def _counts_key(table: Table, file: DataFile, split: Split) -> str:
    c = table.columns
    split_by = [c.data.split.model_dump(), split.model_dump()]
    return key_of("levels", asdict(file), sorted(c.many), asdict(c.dialect), *split_by)


def _list_key(data: TableData, column: str) -> str:
    split = [data.split.model_dump(), data.holding_out.model_dump()]
    return key_of("levels", data.path, data.limit, data.max_levels, column, *split)
