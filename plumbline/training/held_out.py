"""The rows held out for testing as they were read or generated, each with its prediction."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor, nn

from plumbline.config.schema import Split
from plumbline.data.blocks import Block, Source, take_columns
from plumbline.data.encoding import Encoding
from plumbline.data.sources import Table
from plumbline.data.split import shares_of
from plumbline.training.batch_prediction import predicted_columns

READ_AS = {"number": pa.float64(), "boolean": pa.bool_(), "text": pa.string()}


def predict_held_out(
    module: nn.Module, source: Source, encoding: Encoding, split: Split, most: int
) -> pa.Table | None:
    """The first held-out rows in the order of the parts, each of which is read once; none after
    that of the last row is opened.

    Args:
        module: the model, from features in raw units, (n, d) float64.
        source: where the rows are, with all that a pass over them found.
        encoding: the model's, with the interval's half width if there is one.
        split: which rows are held out.
        most: how many rows at most.

    Returns:
        The columns that were read (numbers as float64, names as text) or generated, those of a
        batch prediction, and where each row stands: `source_file`, and `source_row` from 1. A name
        that the rows have already gets an underscore. None if no row is held out.

    Raises:
        OSError: a file cannot be read, or has changed.
    """
    found: list[pa.Table] = []
    for part in source.parts:
        if isinstance(source, Table) and source.file(part).tested is False:
            continue
        for numbers, read, features in _held_out(source, part, encoding.features, split, most):
            with torch.no_grad():
                outputs = module(features).double()
            outputs = outputs.softmax(dim=1) if encoding.classes else outputs
            values = predicted_columns(outputs.numpy(), encoding)
            beside = dict(zip(encoding.predicted, values, strict=True))
            beside |= {"source_file": pa.repeat(part, len(read)), "source_row": numbers}
            rows = _beside(read, beside)
            found.append(rows.cast(found[0].schema) if found else rows)
            most -= len(rows)
        if not most:
            break
    return pa.concat_tables(found) if found else None


def _held_out(
    source: Source, part: str, features: Sequence[str], split: Split, most: int
) -> Iterator[tuple[np.ndarray, pa.Table, Tensor]]:
    """The first held-out rows of a part, block by block: their numbers from 1, (k,), they as they
    were read, and their features, (k, d)."""
    read: list[pa.RecordBatch] = []  # those that the block's rows are in
    first = 0  # the place in the part of their first row
    table = source if isinstance(source, Table) else None
    for block in table.blocks(part, read.append) if table else source.blocks(part):
        tested = shares_of(split, block)["test"]
        assert tested is not None  # only the mask of train can be
        places = tested.numpy().nonzero()[0][:most]
        there = np.arange(block.span) if block.kept is None else block.kept.numpy().nonzero()[0]
        if len(places):
            at = block.first_row + there[places]
            rows = _as_read(table, read, at - first) if table else _generated(block, places)
            yield at + 1, rows, take_columns(block.rows[1:].mT[places], block.columns, features)
            most -= len(places)
        if not most:
            return
        while read and first + len(read[0]) <= block.first_row + block.span:
            first += len(read.pop(0))


def _as_read(table: Table, read: list[pa.RecordBatch], places: np.ndarray) -> pa.Table:
    """Some of the rows that were read, before they were encoded."""
    rows, kinds = pa.Table.from_batches(read).take(places), table.columns.reading
    types = [READ_AS.get(kind, rows.schema.field(name).type) for name, kind in kinds.items()]
    columns = [pc.cast(rows[n], type_, safe=False) for n, type_ in zip(kinds, types, strict=True)]
    return pa.table(columns, names=list(kinds))


def _generated(block: Block, places: np.ndarray) -> pa.Table:
    return pa.table(dict(zip(block.columns, block.rows[1:, places].numpy(), strict=True)))


def _beside(rows: pa.Table, columns: Mapping[str, pa.Array]) -> pa.Table:
    for name, column in columns.items():
        free = name + "_" * (name in rows.column_names)
        rows = rows.append_column(free, pa.array(column))
    return rows
