"""Predictions for files of any size: read, predict, write, block by block."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from plumbline.data.batches import as_dates, as_text, read_batches
from plumbline.data.column_checks import numbers_as_text, read_head
from plumbline.data.encoding import Encoding
from plumbline.data.files import DataFile
from plumbline.data.header import Header, Kind, read_header
from plumbline.errors import InputError
from plumbline.training.output import whole_or_nothing

Predict = Callable[[np.ndarray], np.ndarray]


@dataclass
class BatchResult:
    """The counts of a batch prediction.

    Attributes:
        rows: how many there were.
        empty: how many of them could not be predicted and have an empty prediction.
        first: what is wrong with the first of those; "" if there are none.
    """

    rows: int = 0
    empty: int = 0
    first: str = ""


def predict_files(
    files: Sequence[DataFile],
    encoding: Encoding,
    predict: Predict,
    output: str,
    keep: Sequence[str] = (),
    on_missing: Literal["error", "null"] = "error",
    on_rows: Callable[[int], None] = lambda rows: None,
) -> BatchResult:
    """Write a prediction for every row of some files, in order.

    The output appears under its name when it is whole, or not at all.

    Args:
        files: of rows, in order.
        encoding: the model's columns. Their order in a file does not matter.
        predict: the features of k rows, (k, d) float64, to (k,) predictions or the probabilities
            of K classes, (k, K).
        output: .csv or .parquet; columns: those kept, then `prediction`, of classes
            `probability_` with the name of each, with an interval `lower` and `upper`. See
            check_output.
        keep: further columns to pass through; "all" alone: every column of the first file.
        on_missing: what becomes of a row with a missing or infinite number or an unknown or
            missing level: "error" refuses the files, "null" leaves its prediction empty.
        on_rows: called after each block with the number of rows that are done.

    Raises:
        InputError: a column is missing or of another kind, a value is no number, a row cannot be
            predicted and `on_missing` is "error", or files of Parquet output hold what cannot be
            one column.
        OSError: the output cannot be written.
    """
    kept = _kept(files[0], keep, encoding)
    to_csv = output.lower().endswith(".csv")
    done, schema = BatchResult(), None
    with whole_or_nothing(output) as write:
        for file in files:
            first_row, header = 1, read_header(file)
            reading = _reading(file, header, encoding, kept, to_csv)
            for batch in read_batches(header, reading):
                frame = _as_trained(batch, encoding)
                values = encoding.read(frame)
                done.first = done.first or _first_wrong(file, frame, encoding, values, first_row)
                if done.first and on_missing == "error":
                    hint = "ON_MISSING=null leaves the predictions of such rows empty"
                    raise InputError(f"{done.first}; {hint}.")
                written = batch.select(kept)
                columns = _predictions(predict, encoding, values)
                for name, column in zip(encoding.predicted, columns, strict=True):
                    written = written.append_column(name, column)
                schema = schema or written.schema
                write(
                    _checked_for_csv(written, file) if to_csv else _as_first(written, schema, file)
                )
                first_row += batch.num_rows
                done.rows += batch.num_rows
                done.empty += columns[0].null_count
                on_rows(done.rows)
        if not done.rows:
            raise InputError(
                f"{files[0].uri}: has a header only. INPUT must have at least one row."
            )
    return done


def _kept(file: DataFile, keep: Sequence[str], encoding: Encoding) -> list[str]:
    kept = list(read_header(file).kinds) if list(keep) == ["all"] else list(keep)
    for name in encoding.predicted:
        if name in kept:
            raise InputError(f"{file.uri}: has a column '{name}' already; do not keep it.")
    return kept


def _reading(
    file: DataFile, header: Header, encoding: Encoding, kept: list[str], to_csv: bool
) -> dict[str, Kind]:
    """The columns to read of one file; what goes from CSV to CSV is kept as it is written."""
    kinds = header.kinds
    for name in (*encoding.columns, *kept):
        if name not in kinds:
            why = ", which the model takes (MODEL picks another one)"
            raise InputError(
                f"{file.uri}: has no column '{name}'{why if name in encoding.columns else ''}. "
                f"Its columns: {header.named()}."
            )
    for name in encoding.numbers:
        if kinds[name] not in ("number", "boolean", "unknown"):
            head = read_head(header, [name] if kinds[name] == "text" else [])
            odd = numbers_as_text(head, header)
            why = f"But {odd[name]}" if odd else f"Got {kinds[name]} instead"
            raise InputError(f"{file.uri}: column '{name}' must hold numbers. {why}.")
    for name in (*encoding.dates, *encoding.levels):
        dates = name in encoding.dates
        what = "dates" if dates else "names or numbers"
        if kinds[name] == "other" or (dates and kinds[name] in ("number", "boolean")):
            raise InputError(
                f"{file.uri}: column '{name}' must hold {what}. Got {kinds[name]} instead."
            )
    known = {name: "text" if kind == "unknown" else kind for name, kind in kinds.items()}
    passed: dict[str, Kind] = {name: "text" if to_csv else known[name] for name in kept}
    passed |= {name: "text" for name in encoding.levels}
    passed |= {n: "boolean" if kinds[n] == "boolean" else "number" for n in encoding.numbers}
    return passed | {name: known[name] for name in encoding.dates}


def _checked_for_csv(rows: pa.RecordBatch, file: DataFile) -> pa.RecordBatch:
    if nested := [each.name for each in rows.schema if pa.types.is_nested(each.type)]:
        raise InputError(
            f"{file.uri}: column '{nested[0]}' holds lists or structures, which CSV cannot. Do not "
            "keep it, or let OUTPUT end in .parquet."
        )
    return rows


def _as_first(rows: pa.RecordBatch, schema: pa.Schema, file: DataFile) -> pa.RecordBatch:
    """Rows with the types of the first file's, because a Parquet file has one for each column.

    Raises:
        InputError: a value would be lost.
    """
    try:
        for first, now in zip(schema.types, rows.schema.types, strict=True):
            if pa.types.is_date(first) and pa.types.is_timestamp(now):
                raise pa.ArrowInvalid("dates there, times here")  # pyarrow would cut them off
        return rows if rows.schema == schema else rows.cast(schema)
    except pa.ArrowException as error:
        raise InputError(
            f"{file.uri}: a column to keep holds what the first file's column of that name does "
            f"not ({str(error).splitlines()[0]}). An OUTPUT that ends in .csv takes both."
        ) from None


def _as_trained(batch: pa.RecordBatch, encoding: Encoding) -> pd.DataFrame:
    """The model's columns as training reads them: float64, and levels as text."""
    numbers, levels = encoding.numbers, encoding.levels
    columns = {n: pc.cast(batch.column(n), pa.float64(), safe=False) for n in numbers}
    columns |= {name: as_text(batch.column(name)) for name in levels}
    columns |= {name: as_dates(batch.column(name)) for name in encoding.dates}
    return pa.RecordBatch.from_pydict(columns).to_pandas()


def _first_wrong(
    file: DataFile, rows: pd.DataFrame, encoding: Encoding, values: np.ndarray, first_row: int
) -> str:
    """Why the first bad row cannot be predicted; "" if every row can."""
    error = encoding.first_error(rows, values)
    if error is None:
        return ""
    return (
        f"{file.uri}: column '{error.column}', row {first_row + error.row} must be "
        f"{error.allowed}. Got {error.found} instead"
    )


def _predictions(predict: Predict, encoding: Encoding, values: np.ndarray) -> list[pa.Array]:
    """The columns of the predictions for raw columns that were read, (columns, n); null for a row
    that is wrong."""
    right = np.isfinite(values).all(axis=0)
    predicted = np.zeros((len(right), len(encoding.classes) or 1))
    if right.any():
        found = predict(encoding.features_of(values[:, right]))
        predicted[right] = found.reshape(-1, predicted.shape[1])
    return predicted_columns(predicted, encoding, ~right)


def predicted_columns(
    predicted: np.ndarray, encoding: Encoding, mask: np.ndarray | None = None
) -> list[pa.Array]:
    """The columns `encoding.predicted` for predictions, (n, 1), or the probabilities of K classes,
    (n, K); null where the mask is."""
    columns = [pa.array(column, mask=mask) for column in predicted.T]
    if encoding.half_width is not None:
        ends = encoding.interval(predicted[:, 0])
        return [*columns, *(pa.array(end, mask=mask) for end in ends)]
    if not encoding.classes:
        return columns
    likeliest = np.array(encoding.classes, dtype=object)[predicted.argmax(axis=1)]
    return [pa.array(likeliest, pa.string(), mask=mask), *columns]
