"""Read the columns of a file as Arrow batches, locate damage, and convert columns to dates,
numbers, text or names of classes."""

import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from plumbline.data.encoding import level_of
from plumbline.data.files import DataFile
from plumbline.data.header import (
    BOOLEANS,
    MISSING,
    Dialect,
    Header,
    Kind,
    decode,
    open_arrow,
    read_header,
)
from plumbline.errors import InputError, must_be

# Rows of a block of numbers, into which batches are copied. There are enough of them that the fixed
# cost of a block, 0.8 ms, is small compared with its matrix products (at least 32 rows a column, up
# to 2,000 columns), and few enough that a block stays in the last-level cache. A power of two would
# put the values of a row into the same few lines of a cache: transposing takes four times as long.
BLOCK_ROWS = 65_000
BLOCK_NUMBERS = 1 << 27  # at most, 1 GiB, unless there are more columns than rows then
MEMORY = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # of this machine, in bytes
CSV_BLOCK_BYTES = 1 << 22
# Rows of a Parquet file that are decoded at once: the more, the faster, but fewer of many columns.
DECODED_ROWS, DECODED_NUMBERS = 2 * BLOCK_ROWS, 1 << 22
# pyarrow's messages for a damaged CSV file
WRONG_WIDTH = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)(.*)", re.DOTALL)
WRONG_VALUE = re.compile(
    r"column #(\d+): Row #(\d+): CSV conversion error to (\w+): invalid (?:value '(.*)'|UTF8 data)",
    re.DOTALL,
)
CSV_TYPES = {"number": pa.float64(), "boolean": pa.bool_(), "text": pa.string()}


def block_rows(columns: int) -> int:
    """Return the number of rows in a block of this many columns."""
    return min(BLOCK_ROWS, max(BLOCK_NUMBERS // columns, columns))


def read_batches(header: Header, kinds: Mapping[str, Kind]) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a CSV, Parquet or Arrow file, with bounded memory.

    Args:
        header: of the file.
        kinds: the columns to read, with their kinds.

    Raises:
        InputError: the file is damaged, or a CSV value is not of its column's kind.
        OSError: the file cannot be read at the moment.
    """
    file, rows = header.file, 0
    stored = {header.stored[name]: kind for name, kind in kinds.items() if name in header.stored}
    stored = stored or {header.columns[0]: "text"}  # their number tells that of the rows
    try:
        for batch in READERS[file.format](header, stored):
            wanted = batch.slice(0, None if file.rows is None else file.rows - rows)
            yield _renamed(wanted, header, kinds)
            rows += wanted.num_rows
            if rows == file.rows:
                return
    except UnicodeDecodeError as error:
        raise header.dialect.undecodable(error.object, file.uri) from None
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:  # KeyError: the header is another one now
        raise _damaged(header, rows, error) from None
    except OSError as error:
        if error.errno or file.is_out_of_reach(error) or (file.is_csv and not file.compression):
            raise
        # pyarrow reports damaged pages and compressed files as an OSError without a number
        raise _damaged(header, rows, error) from None


def _renamed(batch: pa.RecordBatch, header: Header, kinds: Mapping[str, Kind]) -> pa.RecordBatch:
    """The columns of a batch, and those of its file's partition, by their names in the header."""

    def column(name: str, kind: Kind) -> pa.Array:
        if name in header.stored:
            return batch[header.stored[name]]
        value = pa.scalar(header.file.partition[name] or None, pa.string())
        return pa.repeat(value.cast(CSV_TYPES[kind]), batch.num_rows)

    return pa.record_batch({name: column(name, kind) for name, kind in kinds.items()})


def count_rows(file: DataFile, asked: Dialect) -> int | None:
    """Count the rows of a file without converting its values; None if that fails.

    A Parquet file stores the number; the rows of other files are counted.
    """
    try:
        if file.format == "Parquet":
            return pq.read_metadata(file.open()).num_rows
        header = read_header(file, asked)
        first: dict[str, Kind] = dict.fromkeys(list(header.kinds)[:1], "text")
        return sum(batch.num_rows for batch in read_batches(header, first))
    except (OSError, ValueError):
        return None


def first_rows(files: Sequence[DataFile], limit: int, asked: Dialect) -> tuple[DataFile, ...]:
    """The files that hold the first `limit` rows, the last one truncated; no others are opened."""
    found: list[DataFile] = []
    for file in files:
        rows = count_rows(replace(file, rows=limit + 1), asked)
        if rows is None or rows > limit:  # if it cannot be counted, reading it will raise the error
            return (*found, replace(file, rows=limit))
        found.append(file)
        limit -= rows
        if not limit:
            break
    return tuple(found)


def _parquet_batches(header: Header, stored: Mapping[str, Kind]) -> Iterator[pa.RecordBatch]:
    with header.file.open() as stream:
        reader = pq.ParquetFile(stream)
        fitting = DECODED_NUMBERS // max(1, len(stored))
        rows = min(max(fitting, BLOCK_ROWS // 2), DECODED_ROWS)
        yield from reader.iter_batches(rows, columns=[*stored], use_threads=False)


def _arrow_batches(header: Header, stored: Mapping[str, Kind]) -> Iterator[pa.RecordBatch]:
    places = [header.columns.index(name) for name in stored]
    with header.file.open() as stream:
        for batch in open_arrow(stream, places)[1]:  # a batch may be the whole table
            for first in range(0, batch.num_rows, BLOCK_ROWS):
                yield batch.slice(first, BLOCK_ROWS)


def _csv_batches(header: Header, stored: Mapping[str, Kind]) -> Iterator[pa.RecordBatch]:
    dialect, spaces = header.dialect, ("", " ")
    types = {name: CSV_TYPES[kind] for name, kind in stored.items()}
    convert = pacsv.ConvertOptions(
        include_columns=list(types),
        column_types=types,
        null_values=[space + value for value in MISSING for space in spaces],
        true_values=[space + value for value in BOOLEANS[:3] for space in spaces],
        false_values=[space + value for value in BOOLEANS[3:] for space in spaces],
        strings_can_be_null=True,
        quoted_strings_can_be_null=True,
        decimal_point=dialect.decimal,
    )
    encoding = "utf8" if dialect.encoding == "utf-8" else dialect.encoding
    read = pacsv.ReadOptions(block_size=CSV_BLOCK_BYTES, use_threads=False, encoding=encoding)
    parse = pacsv.ParseOptions(newlines_in_values=True, delimiter=dialect.delimiter)
    with header.file.open_content() as stream:
        for batch in pacsv.open_csv(
            stream, read_options=read, parse_options=parse, convert_options=convert
        ):
            yield pa.RecordBatch.from_arrays([*map(_trimmed, batch.columns)], names=[*stored])


READERS = {"CSV": _csv_batches, "Parquet": _parquet_batches, "Arrow": _arrow_batches}


def _trimmed(values: pa.Array) -> pa.Array:
    return pc.utf8_trim_whitespace(values) if values.type == pa.string() else values


def _damaged(header: Header, rows_read: int, error: Exception) -> InputError:
    """Make the error for a damaged file, with the row and column if pyarrow reports them for CSV.

    pyarrow counts the header as a row, and reads all rows before one that does not end.
    """
    file, dialect, said = header.file, header.dialect, str(error)
    if "straddles two block boundaries" in said:
        return _unclosed(file, rows_read + 1)
    if wrong := WRONG_WIDTH.search(said):
        row, names, values, text = wrong.groups()
        if "\n" in text and text.count('"') % 2:
            return _unclosed(file, int(row) - 1)
        return InputError(
            f"{file.uri}: row {int(row) - 1} must have {names} values, as many as the header. "
            f"Got {values} instead; is the file cut off, or is a value that contains "
            f"{dialect.delimiter!r} not quoted?"
        )
    if wrong := WRONG_VALUE.search(said):
        column, row, kind, value = wrong.groups()
        place = f"{file.uri}: column '{header.columns[int(column)].strip()}', row {int(row) - 1}"
        if value is None:
            return dialect.undecodable(_undecodable_line(file), place)
        kind, value = "number" if kind == "double" else "boolean", value.strip()
        help_ = dialect.help_with_comma(value, "write a decimal point")
        if not help_ and dialect.configured:
            help_ = (
                "fix it (leave it empty if it is missing), or list the column in data.categorical "
                "(names) or data.exclude (ids)"
            )
        return must_be(place, f"a {kind}", f"'{value[:60]}'", f"; {help_}" if help_ else "")
    reason = said.splitlines()[0].rstrip(".")
    return InputError(f"{file.uri}: is damaged or cut off ({reason}).")


def _unclosed(file: DataFile, row: int) -> InputError:
    return InputError(f"{file.uri}: row {row} cannot be read. Is a quote not closed?")


def _undecodable_line(file: DataFile) -> bytes:
    """The first line of a file that is not UTF-8; empty if there is none."""
    with file.open_content() as stream:
        lines = io.BufferedReader(stream)
        return next((line for line in lines if decode(line, "utf-8") is None), b"")


def as_dates(values: pa.Array) -> pa.Array:
    """Convert dates to timestamps; timestamps are kept, anything else becomes text."""
    if pa.types.is_date(values.type):
        return pc.cast(values, pa.timestamp("s"))
    return values if pa.types.is_timestamp(values.type) else as_text(values)


def as_numbers(values: pa.Array) -> np.ndarray:
    """Convert a column to numbers, (n,), with NaN for missing values."""
    plain = pa.types.is_floating(values.type) or pa.types.is_integer(values.type)
    if not plain or values.null_count:
        values = pc.cast(values, pa.float64(), safe=False)
    return values.to_numpy(zero_copy_only=False)


def class_names(values: pa.Array) -> pa.Array:
    """Convert classes to text as pandas prints them: True, 7 (also for 7.0), 0.5, setosa."""
    values = _decoded(values)
    if pa.types.is_boolean(values.type):
        return pc.if_else(values, "True", "False")
    return as_text(values)


def as_text(values: pa.Array) -> pa.Array:
    """Convert a categorical column to text, including numbers and booleans; NaN is missing.

    Numbers are spelt as Encoding spells those of a frame, or a model could not find their levels.
    """
    values = _decoded(values)
    if not pa.types.is_floating(values.type):
        return values if values.type == pa.string() else pc.cast(values, pa.string())
    known = pc.cast(values, pa.float64()).dictionary_encode()
    names = [None if value != value else level_of(value) for value in known.dictionary.to_pylist()]
    return pa.array(names, pa.string()).take(known.indices)


def _decoded(values: pa.Array) -> pa.Array:
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
