"""Predictions for files of any size: read, predict, write, block by block."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from regression.batches import read_batches
from regression.columns import Kind, column_kinds
from regression.errors import InputError, refuse
from regression.files import DataFile

PREDICTION = "prediction"
Predict = Callable[[pa.RecordBatch], np.ndarray]


def score(
    files: Sequence[DataFile],
    needed: dict[str, Kind],
    predict: Predict,
    output: Path,
    keep: Sequence[str] = (),
    on_rows: Callable[[int], None] = lambda rows: None,
) -> int:
    """Write a prediction for every row of some files, in order; returns the number of rows.

    The output appears under its name when it is whole, or not at all.

    Args:
        files: CSV or Parquet, in order.
        needed: the model's columns: "number" or "text". Their order in a file does not matter.
        predict: rows with the needed columns, all present, to (k,) predictions.
        output: .csv or .parquet; columns: those kept, then `prediction`.
        keep: further columns to pass through; "all" alone: every column of the first file.
        on_rows: told the number of rows of each block that is done.

    Raises:
        InputError: a column is missing or of another kind, a value is missing or no number, or
            the output has another ending.
    """
    if output.suffix.lower() not in (".csv", ".parquet"):
        raise refuse("OUTPUT", "a file that ends in .csv or .parquet", str(output))
    kept = _kept(files[0], keep)
    rows = 0
    with _whole_or_nothing(output) as write:
        for file in files:
            first_row = 0
            for batch in read_batches(file, _reading(file, needed, kept)):
                _check_present(file, batch.select(list(needed)), first_row)
                try:
                    predicted = predict(batch.select(list(needed)))
                except InputError as error:
                    raise InputError(f"{file.uri}: {error}") from None
                write(_with_prediction(batch.select(kept), predicted))
                first_row += batch.num_rows
                rows += batch.num_rows
                on_rows(rows)
    return rows


def _kept(file: DataFile, keep: Sequence[str]) -> list[str]:
    kept = list(column_kinds(file)) if list(keep) == ["all"] else list(keep)
    if PREDICTION in kept:
        raise InputError(f"{file.uri}: has a column '{PREDICTION}' already; do not keep it.")
    return kept


def _reading(file: DataFile, needed: dict[str, Kind], kept: list[str]) -> dict[str, Kind]:
    """The columns to read of one file: what is needed as such, what is kept as it stands."""
    kinds = column_kinds(file)
    for name in (*needed, *kept):
        if name not in kinds:
            raise InputError(
                f"{file.uri}: has no column '{name}'. Its columns: {', '.join(kinds)}."
            )
    for name, kind in needed.items():
        if kind == "number" and kinds[name] not in ("number", "boolean", "unknown"):
            raise InputError(
                f"{file.uri}: column '{name}' must hold numbers. Got {kinds[name]} instead."
            )
    wanted = {name: kinds[name] for name in kept}
    return wanted | {n: kinds[n] if k == "number" else "text" for n, k in needed.items()}


def _check_present(file: DataFile, batch: pa.RecordBatch, first_row: int) -> None:
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        absent = column.is_null(nan_is_null=True)
        if absent.true_count:
            row = absent.to_pylist().index(True) + first_row + 1
            raise InputError(
                f"{file.uri}: column '{name}', row {row} must be present. "
                "Got a missing value (empty or NaN) instead."
            )


def _with_prediction(kept: pa.RecordBatch, predicted: np.ndarray) -> pa.RecordBatch:
    values = pa.array(np.asarray(predicted, dtype=np.float64))
    return pa.RecordBatch.from_arrays(
        [*kept.columns, values], names=[*kept.schema.names, PREDICTION]
    )


@contextmanager
def _whole_or_nothing(output: Path) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """A writer to a file beside the output, which takes its name at the end."""
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    writer = None

    def write(batch: pa.RecordBatch) -> None:
        nonlocal writer
        if writer is None:
            parquet = output.suffix.lower() == ".parquet"
            kind = pq.ParquetWriter if parquet else pacsv.CSVWriter
            writer = kind(str(part), batch.schema)
        writer.write_batch(batch)

    try:
        yield write
        if writer is None:
            raise InputError("INPUT must have at least one row. Got none.")
        writer.close()
        os.replace(part, output)
    finally:
        if writer is not None:
            writer.close()
        part.unlink(missing_ok=True)
