"""A Prefect task that counts levels: which of them a column of many keeps.

The counts of a file are kept as its summary is. So is the list that was chosen, which later runs
on other files of the same path start from.
"""

import hashlib
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
from prefect import task

from plumbline.config.schema import Split, TableData
from plumbline.data.files import DataFile
from plumbline.data.levels import count_levels, with_levels
from plumbline.data.table import Table
from tasks.cluster import map_parts
from tasks.factor_cache import FactorCache
from tasks.screen import note


def with_known_levels(table: Table, data: TableData) -> Table:
    """The table with the levels of its columns that have many, or had in an earlier run."""
    cache, before = FactorCache.current(), {}
    for name, given in table.columns.categorical.items():
        if name != table.columns.target and not given:
            before[name] = cache.read(_list_key(data, name), json.loads)
    had = {name: levels for name, levels in before.items() if levels}
    table = table.with_columns(many=table.columns.many.union(had))
    return choose_levels(table, data, had) if table.columns.many else table


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
    """Of a file, which are kept."""
    counts = cache.read(keys[part], lambda content: pq.read_table(pa.BufferReader(content)))
    if counts is None:
        counts, written = count_levels(table, split, part), pa.BufferOutputStream()
        pq.write_table(counts, written)
        cache.write(keys[part], written.getvalue().to_pybytes())
    return counts


def _counts_key(table: Table, file: DataFile, split: Split) -> str:
    c = table.columns
    split_by = [c.split.model_dump(), split.model_dump()]
    return _key(asdict(file), sorted(c.many), asdict(c.dialect), *split_by)


def _list_key(data: TableData, column: str) -> str:
    split = [data.split.model_dump(), data.holding_out.model_dump()]
    return _key(data.path, data.limit, data.max_levels, column, *split)


def _key(*content: object) -> str:
    return "factor-levels-" + hashlib.sha256(json.dumps(content).encode()).hexdigest()
