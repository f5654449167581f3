"""Choose the levels that a column with many keeps; the rest become "(other)"."""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc
import torch

from plumbline.config.schema import Split
from plumbline.data.batches import as_text
from plumbline.data.blocks import Block
from plumbline.data.encoding import MISSING, OTHER
from plumbline.data.header import Kind
from plumbline.data.sources import Table
from plumbline.data.split import group_numbers, shares_of, tested_rows

MOST_COUNTED = 1 << 20  # different values that are counted; beyond it the rarest are dropped
NO_LEVELS = pa.array([MISSING, OTHER, None], pa.string())
COUNTED = pa.schema({"column": pa.string(), "level": pa.string(), "rows": pa.int64()})


def count_levels(table: Table, split: Split, part: str) -> pa.Table:
    """Count the training rows of a file for each level of the columns with many levels.

    Rows that are dropped because another column has no value are counted, too.

    Returns:
        A table of column, level and rows, the most frequent first.

    Raises:
        InputError, OSError: as Table.blocks.
    """
    file, columns, first_row = table.file(part), table.columns, 0
    by = columns.data.split
    reading: dict[str, Kind] = dict.fromkeys(filter(None, (*columns.many, by.group)), "text")
    reading |= {by.time: columns.reading[by.time]} if by.time else {}
    found = [COUNTED.empty_table()]
    for batch in table.batches(part, reading):
        groups = group_numbers(as_text(batch[by.group])) if by.group else None
        tested = tested_rows(by, file, batch)
        rows = torch.empty(1, batch.num_rows)
        block = Block((), rows, file.name, first_row, groups=groups, tested=tested)
        train = shares_of(split, block)["train"]
        for name in columns.many:
            values = as_text(batch[name])
            values = values if train is None else values.filter(pa.array(train.numpy()))
            of = pc.value_counts(values.filter(pc.invert(pc.is_in(values, NO_LEVELS))))
            found.append(pa.table([pa.repeat(name, len(of)), *of.flatten()], COUNTED))
        if sum(map(len, found)) > 2 * MOST_COUNTED:
            found = [_sum_of(found)]
        first_row += batch.num_rows
    file.check_unchanged()
    return _sum_of(found)


def with_levels(
    table: Table, counts: Iterable[pa.Table], before: Mapping[str, Sequence[str]] | None = None
) -> tuple[Table, dict[str, int]]:
    """Set the levels of the columns that have many.

    Args:
        table: with `columns.many`.
        counts: of each part, as count_levels returns them; they are consumed one by one.
        before: the levels that an earlier run chose, by column.

    Returns:
        The table, and the number of levels of each column (as far as they were counted).
    """
    whole = reduce(lambda some, more: _sum_of([some, more]), counts)
    chosen, found = {}, {}
    for name in sorted(table.columns.many):
        of = whole.filter(pc.equal(whole["column"], name))
        levels = _chosen(of, table.columns.data.max_levels, (before or {}).get(name, ()))
        chosen[name], found[name] = (*levels, OTHER), len(of)
    return table.with_columns(categorical=table.columns.categorical | chosen), found


def _chosen(counts: pa.Table, most: int, before: Sequence[str]) -> list[str]:
    """The most frequent levels, sorted.

    Earlier levels stay until another has twice as many rows as the rarest of them, because a change
    invalidates every cached R factor.
    """
    inside = pc.is_in(counts["level"], pa.array(before, pa.string()))
    kept, outside = counts.filter(inside)["rows"], counts.filter(pc.invert(inside))["rows"]
    least = kept[-1].as_py() if len(kept) == most else 0
    if len(before) and (not len(outside) or outside[0].as_py() < 2 * least):
        return sorted(set(before) - {OTHER})
    return sorted(counts["level"].slice(0, most).to_pylist())


def _sum_of(counts: Sequence[pa.Table]) -> pa.Table:
    """Add up counts, sorted by descending rows, then by column and level."""
    whole = pa.concat_tables(counts).group_by(["column", "level"]).aggregate([("rows", "sum")])
    whole = whole.rename_columns(COUNTED.names)
    order = [("rows", "descending"), ("column", "ascending"), ("level", "ascending")]
    return whole.sort_by(order).slice(0, MOST_COUNTED)
