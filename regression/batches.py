"""The columns of one file as Arrow batches, and where a damaged file goes wrong."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from regression.columns import MISSING, Kind
from regression.diagnose import first_bad_cell, first_bad_row
from regression.errors import InputError
from regression.files import DataFile
from regression.rows import BLOCK_ROWS

CSV_BLOCK_BYTES = 1 << 22
CSV_TYPES = {"number": pa.float64(), "boolean": pa.bool_(), "text": pa.string()}


def read_batches(file: DataFile, kinds: dict[str, Kind]) -> Iterator[pa.RecordBatch]:
    """A file's batches, bounded in memory.

    Args:
        file: CSV or Parquet.
        kinds: the columns to read and what they hold.

    Raises:
        InputError: the file is damaged, or a CSV value is not of its column's kind.
        OSError: the file cannot be read just now.
    """
    try:
        yield from _csv_batches(file, kinds) if file.is_csv else _parquet_batches(file, kinds)
    except pa.ArrowInvalid as error:
        place = (first_bad_row(file) or first_bad_cell(file, kinds)) if file.is_csv else None
        raise place or _damaged(file, error) from None
    except OSError as error:
        if file.is_csv or error.errno or file.is_out_of_reach(error):
            raise
        # pyarrow reports damaged Parquet pages as an OSError without a number
        raise _damaged(file, error) from None


def count_rows(file: DataFile) -> int | None:
    """How many rows a file holds, without reading its values; None where it cannot be told.

    A Parquet file says so itself; the rows of a CSV file are counted.
    """
    try:
        with file.open() as stream:
            if not file.is_csv:
                return pq.ParquetFile(stream).metadata.num_rows
            return sum(batch.num_rows for batch in pacsv.open_csv(stream))
    except (OSError, pa.ArrowInvalid):
        return None


def _parquet_batches(file: DataFile, kinds: dict[str, Kind]) -> Iterator[pa.RecordBatch]:
    with file.open() as stream:
        reader = pq.ParquetFile(stream)
        yield from reader.iter_batches(BLOCK_ROWS, columns=list(kinds), use_threads=False)


def _csv_batches(file: DataFile, kinds: dict[str, Kind]) -> Iterator[pa.RecordBatch]:
    types = {name: CSV_TYPES[kind] for name, kind in kinds.items()}
    convert = pacsv.ConvertOptions(
        include_columns=list(types),
        column_types=types,
        null_values=list(MISSING),
        strings_can_be_null=True,
        quoted_strings_can_be_null=True,
    )
    read = pacsv.ReadOptions(block_size=CSV_BLOCK_BYTES, use_threads=False)
    parse = pacsv.ParseOptions(newlines_in_values=True)
    with file.open() as stream:
        yield from pacsv.open_csv(
            stream, read_options=read, parse_options=parse, convert_options=convert
        )


def _damaged(file: DataFile, error: Exception) -> InputError:
    said = str(error).splitlines()[0].rstrip(".")
    return InputError(f"{file.uri}: is damaged or cut off ({said}).")
