"""The columns of one file as Arrow batches, and where a damaged file goes wrong."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from plumbline.data.blocks import BLOCK_ROWS
from plumbline.data.dialect import DECIMAL_COMMA, Dialect
from plumbline.data.files import DataFile
from plumbline.data.header import BOOLEANS, MISSING, Header, Kind, csv_kind, read_header
from plumbline.errors import InputError

CSV_BLOCK_BYTES = 1 << 22
CSV_TYPES = {"number": pa.float64(), "boolean": pa.bool_(), "text": pa.string()}


def read_batches(
    file: DataFile, kinds: Mapping[str, Kind], header: Header
) -> Iterator[pa.RecordBatch]:
    """A file's batches, bounded in memory.

    Args:
        file: CSV or Parquet.
        kinds: the columns to read and what they hold.
        header: of this file.

    Raises:
        InputError: the file is damaged, or a CSV value is not of its column's kind.
        OSError: the file cannot be read just now.
    """
    try:
        yield from (_csv_batches if file.is_csv else _parquet_batches)(file, kinds, header)
    except UnicodeDecodeError as error:
        raise header.dialect.undecodable(error.object, file.uri) from None
    except pa.ArrowInvalid as error:
        raise _damaged(file, kinds, header, error) from None
    except OSError as error:
        if error.errno or file.is_out_of_reach(error) or (file.is_csv and not file.compression):
            raise
        # pyarrow reports damaged Parquet pages and compressed files as an OSError without a number
        raise _damaged(file, kinds, header, error) from None


def count_rows(file: DataFile, asked: Dialect) -> int | None:
    """How many rows a file holds, without reading its values; None where it cannot be told.

    A Parquet file says so itself; the rows of a CSV file are counted.
    """
    try:
        if not file.is_csv:
            return pq.read_metadata(file.open()).num_rows
        header = read_header(file, asked)
        first = dict.fromkeys(list(header.kinds)[:1], "text")
        return sum(batch.num_rows for batch in _csv_batches(file, first, header))
    except (OSError, ValueError):
        return None


def _parquet_batches(
    file: DataFile, kinds: Mapping[str, Kind], header: Header
) -> Iterator[pa.RecordBatch]:
    stored = [header.stored[name] for name in kinds]
    with file.open() as stream:
        reader = pq.ParquetFile(stream)
        for batch in reader.iter_batches(BLOCK_ROWS, columns=stored, use_threads=False):
            yield batch.select(stored).rename_columns(list(kinds))


def _csv_batches(
    file: DataFile, kinds: Mapping[str, Kind], header: Header
) -> Iterator[pa.RecordBatch]:
    dialect, spaces = header.dialect, ("", " ") if header.spaced else ("",)
    types = {header.stored[name]: CSV_TYPES[kind] for name, kind in kinds.items()}
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
    with file.open_content() as stream:
        for batch in pacsv.open_csv(
            stream, read_options=read, parse_options=parse, convert_options=convert
        ):
            columns = [_trimmed(each) for each in batch.columns] if header.spaced else batch.columns
            yield pa.RecordBatch.from_arrays(columns, names=list(kinds))


def _trimmed(values: pa.Array) -> pa.Array:
    return pc.utf8_trim_whitespace(values) if values.type == pa.string() else values


def _damaged(
    file: DataFile, kinds: Mapping[str, Kind], header: Header, error: Exception
) -> InputError:
    """What is wrong, with the row if it is a row of a CSV file that can be read at all."""
    said = str(error).splitlines()[0].rstrip(".")
    if file.is_csv and isinstance(error, pa.ArrowInvalid):
        place = _first_bad_row(file, header) or _first_bad_cell(file, kinds, header)
        if place:
            return place
    return InputError(f"{file.uri}: is damaged or cut off ({said}).")


def _first_bad_row(file: DataFile, header: Header) -> InputError | None:
    """The first row with more or fewer values than the header has names."""
    for number, names, row in _csv_rows(file, header):
        if len(row) != len(names):
            return InputError(
                f"{file.uri}: row {number} must have {len(names)} values, as the header has names. "
                f"Got {len(row)} instead; is the file cut off, or a value with "
                f"{header.dialect.delimiter!r} in it not quoted?"
            )
    return None


def _first_bad_cell(file: DataFile, kinds: Mapping[str, Kind], header: Header) -> InputError | None:
    """The first value that is not of its column's kind, or not in the encoding."""
    dialect = header.dialect
    for number, names, row in _csv_rows(file, header):
        for name, value in zip(names, row, strict=False):
            kind = kinds.get(name)
            place = f"{file.uri}: column '{name}', row {number}"
            if kind not in (None, "text") and value not in MISSING:
                if csv_kind(value, dialect) != kind:
                    comma = dialect.decimal == "." and DECIMAL_COMMA.fullmatch(value)
                    help_ = dialect.mend("decimal", "','", "write a decimal point")
                    return InputError(
                        f"{place} must be a {kind}. Got '{value[:60]}' instead"
                        f"{f'; {help_}' if comma else ''}."
                    )
            elif kind and not value.isascii() and (raw := _undecoded(value)):
                return dialect.undecodable(raw, place)
    return None


def _undecoded(value: str) -> bytes | None:
    """The bytes of a value that are not in the encoding."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode(errors="surrogateescape")
    return None


def _csv_rows(file: DataFile, header: Header) -> Iterator[tuple[int, Sequence[str], Sequence[str]]]:
    """(row number from 1, the header's names, the row's values); blank lines are no rows.

    Bytes that are not in the encoding are lone surrogates.
    """
    encoding = header.dialect.encoding
    with file.open_content() as stream:
        text = io.TextIOWrapper(
            io.BufferedReader(stream),
            encoding="utf-8-sig" if encoding == "utf-8" else encoding,
            errors="surrogateescape",
            newline="",
        )
        rows = (row for row in csv.reader(text, delimiter=header.dialect.delimiter) if row)
        names = [name.strip() for name in next(rows)]
        number = 0
        try:
            for number, row in enumerate(rows, start=1):
                yield number, names, [v.strip() for v in row] if header.spaced else row
        except csv.Error as error:
            place = f"{file.uri}: row {number + 1}"
            raise InputError(f"{place} cannot be read ({error}). Is a quote not closed?") from None
