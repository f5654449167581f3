"""The rows held out for testing as the files have them, each beside its prediction."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor, nn

from plumbline.config.schema import Split
from plumbline.data.batches import read_batches
from plumbline.data.blocks import take_columns
from plumbline.data.encoding import Encoding
from plumbline.data.header import read_header
from plumbline.data.split import shares_of
from plumbline.data.table import Table
from plumbline.training.batch_prediction import predicted_columns

READ_AS = {"number": pa.float64(), "boolean": pa.bool_(), "text": pa.string()}


def predict_held_out(
    module: nn.Module, table: Table, encoding: Encoding, split: Split, most: int
) -> pa.Table | None:
    """The first held-out rows in the order of the files; no later file is opened.

    Args:
        module: the model, from features in raw units, (n, d) float64.
        table: where the rows are, with all that a pass over them told.
        encoding: the model's, with the interval's half width if there is one.
        split: which rows are held out.
        most: how many rows at most.

    Returns:
        The columns that were read (numbers as float64, names as text), those of a batch prediction,
        and where each row stands: `source_file`, and `source_row` from 1. A name that the table
        has already gets an underscore. None if no row is held out.

    Raises:
        OSError: a file cannot be read, or has changed.
    """
    found: list[pa.Table] = []
    for part in table.parts:
        if not most:
            break
        if table.file(part).tested is False:
            continue
        places, outputs = _outputs(module, table, part, encoding.features, split, most)
        if len(places):
            outputs = outputs.softmax(dim=1) if encoding.classes else outputs
            values = predicted_columns(outputs.numpy(), encoding)
            beside = dict(zip(encoding.predicted, values, strict=True))
            beside |= {"source_file": pa.repeat(part, len(places)), "source_row": places + 1}
            rows = _beside(_raw(table, part, places), beside)
            found.append(rows.cast(found[0].schema) if found else rows)
            most -= len(places)
    return pa.concat_tables(found) if found else None


@torch.no_grad()
def _outputs(
    module: nn.Module, table: Table, part: str, features: Sequence[str], split: Split, most: int
) -> tuple[np.ndarray, Tensor]:
    """Where the first held-out rows of a file stand, from 0, and what the module gives for them."""
    places, outputs, left = [np.zeros(0, np.int64)], [], most
    for block in table.blocks(part):
        chosen = shares_of(split, part, block)["test"].nonzero()[:left, 0]
        there = torch.arange(block.span) if block.kept is None else block.kept.nonzero()[:, 0]
        if len(chosen):
            rows = take_columns(block.rows[1:].mT[chosen], block.columns, features)
            outputs.append(module(rows).double())
            places.append(block.first_row + there[chosen].numpy())
            left -= len(chosen)
        if not left:
            break
    return np.concatenate(places), torch.cat(outputs) if outputs else torch.zeros(0, 1)


def _raw(table: Table, part: str, places: np.ndarray) -> pa.Table:
    """Some rows of a file, in order, as they are read before they are encoded."""
    file, reading, first = table.file(part), table.columns.reading, 0
    header, found = read_header(file, table.columns.dialect), []
    for batch in read_batches(file, reading, header):
        low, high = np.searchsorted(places, [first, first + batch.num_rows])
        if low < high:
            found.append(batch.take(pa.array(places[low:high] - first)))
        first += batch.num_rows
        if high == len(places):
            break
    rows = pa.Table.from_batches(found)
    types = [READ_AS.get(kind, rows.schema.field(n).type) for n, kind in reading.items()]
    columns = [pc.cast(rows[n], type_, safe=False) for n, type_ in zip(reading, types, strict=True)]
    return pa.table(columns, names=list(reading))


def _beside(rows: pa.Table, columns: Mapping[str, pa.Array]) -> pa.Table:
    for name, column in columns.items():
        free = name + "_" * (name in rows.column_names)
        rows = rows.append_column(free, pa.array(column))
    return rows
