"""Read the head of a file: the dialect of CSV, the columns, and what they hold."""

import codecs
import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, islice
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import types

from plumbline.config.data import TableData
from plumbline.data.files import DataFile
from plumbline.errors import InputError, listed

ARROW_FILE = b"ARROW1"  # the first bytes of an Arrow file, but not of a stream
Kind = Literal["number", "boolean", "text", "date", "other", "unknown"]
ARROW_TYPES: dict[Kind, tuple[Callable[[pa.DataType], bool], ...]] = {
    "unknown": (types.is_null,),
    "date": (types.is_timestamp, types.is_date),
    "boolean": (types.is_boolean,),
    "number": (types.is_integer, types.is_floating, types.is_decimal),
    "text": (types.is_string, types.is_large_string, types.is_string_view),
}
BOOLEANS = ("true", "True", "TRUE", "false", "False", "FALSE")
MISSING = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None")
# pandas' names for an unnamed index: read_csv(to_csv()), and to_parquet
INDEX = re.compile(r"|Unnamed: \d+(_level_\d+)?|__index_level_\d+__")
HEAD_BYTES = 1 << 20
DELIMITERS = (",", ";", "\t", "|")
COMPARED_ROWS = 100  # in which the delimiter must give equally many values, and words are counted
DECIMAL_ROWS = 1_000
DECIMAL_COMMA = re.compile(r"\s*[+-]?\d*,\d+(?:[eE][+-]?\d+)?\s*")
THOUSANDS = re.compile(r"\s*[+-]?[1-9]\d{0,2}(?:,\d{3})+\s*")  # 1,234 is ambiguous
csv.field_size_limit(1 << 22)  # characters in a value: as many as pyarrow allows in a row


@dataclass(frozen=True)
class Dialect:
    """The delimiter, decimal mark and encoding of CSV files.

    Attributes:
        delimiter, decimal: "auto" is detected in the head of each file.
        encoding: the name of a Python codec.
        configured: whether the configuration has keys for these; INPUT of a prediction has none.
    """

    delimiter: str = "auto"
    decimal: str = "auto"
    encoding: str = "utf-8"
    configured: bool = False

    def help_with(self, key: str, value: str, otherwise: str) -> str:
        """The next step for a file in another dialect: set a key, or `otherwise`."""
        return f"set data.{key}: {value}" if self.configured else otherwise

    def help_with_comma(self, value: str, otherwise: str = "") -> str:
        """The next step for a value with a decimal comma; "" if it has none."""
        comma = self.decimal == "." and DECIMAL_COMMA.fullmatch(value)
        return self.help_with("decimal", "','", otherwise) if comma else ""

    def undecodable(self, raw: bytes, place: str) -> InputError:
        """Make the error for bytes that are not in the encoding, with a guess at their encoding."""
        guesses = ("utf-16",) if b"\0" in raw else ("utf-8", "cp1252", "latin-1")
        others = (name for name in guesses if name != self.encoding)
        looks = next((name for name in others if decode(raw, name) is not None), "")
        called = {"cp1252": "Windows-1252 (or Latin-1)", "": "no text at all"}.get(looks, looks)
        help_ = f"{self.help_with('encoding', looks, 'save it as UTF-8')}."
        found = f"It looks like {called}: {help_ if looks else 'is it CSV?'}"
        return InputError(f"{place}: is not in {self.encoding}. {found}")

    def number(self, value: str) -> str | None:
        """Rewrite a number for Python's float; None if the value is not a number.

        Only ASCII without underscores is allowed.
        """
        if self.decimal == ",":
            value = value.replace(".", "_").replace(",", ".")
        try:
            float(value)
        except ValueError:
            return None
        return value if value.isascii() and "_" not in value else None


AUTO = Dialect()


def configured_dialect(data: TableData) -> Dialect:
    """The dialect of a table's CSV files, as far as its keys set it."""
    return Dialect(data.delimiter, data.decimal, codecs.lookup(data.encoding).name, True)


@dataclass(frozen=True)
class Header:
    """The columns of a file.

    Attributes:
        file: the file itself.
        kinds: every column with its kind.
        index: the columns that only number or name rows: unnamed ones, and pandas' index.
        columns: the names as written in the file, possibly with spaces around them.
        dialect: of a CSV file.
    """

    file: DataFile
    kinds: dict[str, Kind]
    index: frozenset[str]
    columns: tuple[str, ...]
    dialect: Dialect = AUTO

    @cached_property
    def stored(self) -> dict[str, str]:
        """The name of each column as written in the file."""
        return {name.strip(): name for name in self.columns}

    def named(self) -> str:
        """List the columns for a message; names with a space, comma or quote are quoted."""
        return listed(repr(n) if re.search(r"[\s,']", n) or not n else n for n in self.kinds)


def read_header(file: DataFile, asked: Dialect = AUTO) -> Header:
    """Read the columns of a file from its head alone, and those of its partition.

    In CSV, and in the names of folders, a column's first value that is not missing decides its
    kind, which later values must have; the kind of a column without values is unknown.

    Args:
        file: CSV, Parquet or Arrow.
        asked: the dialect of CSV, as far as it is configured.

    Raises:
        InputError: the file is damaged or empty, or two columns have the same name.
        OSError: it does not exist, or its object store is out of reach.
    """
    try:
        header = _csv_header(file, asked) if file.is_csv else _arrow_header(file)
    except (pa.ArrowInvalid, csv.Error, OSError) as error:
        if isinstance(error, FileNotFoundError) or file.is_out_of_reach(error):
            raise
        said = str(error).splitlines()[0].rstrip(".")
        wrong = "cannot be read" if isinstance(error, OSError) else f"is not valid {file.format}"
        raise InputError(f"{file.uri}: {wrong} ({said}).") from None
    more = {name: value for name, value in file.partition.items() if name not in header.kinds}
    kinds = csv_kinds([[*more.values()]], len(more), AUTO)
    return replace(header, kinds=header.kinds | dict(zip(more, kinds, strict=True)))


def _csv_header(file: DataFile, asked: Dialect) -> Header:
    text, dialect = _read_head(file, asked)
    rows = _csv_rows(text, dialect.delimiter)
    columns = next(rows)
    values = ([value.strip() for value in row] for row in rows)
    header = _header(file, columns, csv_kinds(values, len(columns), dialect))
    return replace(header, dialect=dialect)


def _read_head(file: DataFile, asked: Dialect) -> tuple[str, Dialect]:
    """Read the first lines of a CSV file and complete its dialect.

    A UTF-16 byte order mark overrides UTF-8.

    Raises:
        InputError: the bytes are not in the encoding, or the file is empty.
    """
    with file.open_content() as stream:
        head = stream.read(HEAD_BYTES)
    marked = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = "utf-16" if marked and asked.encoding == "utf-8" else asked.encoding
    whole = len(head) < HEAD_BYTES
    text = decode(head, "utf-8-sig" if encoding == "utf-8" else encoding, whole=whole)
    if text is None:
        raise asked.undecodable(head, file.uri)
    text = text if whole else text[: text.rfind("\n") + 1]
    if not text.strip():
        raise InputError(
            f"{file.uri}: is empty. It must hold a header and rows, the first line "
            f"within {HEAD_BYTES:,} bytes."
        )
    delimiter, decimal = asked.delimiter, asked.decimal
    if delimiter == "auto":
        delimiter = _delimiter(text, file.usual_delimiter)
    if decimal == "auto":
        decimal = "." if delimiter == "," else _decimal(_csv_rows(text, delimiter))
    return text, replace(asked, delimiter=delimiter, decimal=decimal, encoding=encoding)


def _csv_rows(text: str, delimiter: str) -> Iterator[list[str]]:
    """Yield the header and the rows after it, without blank lines."""
    return filter(None, csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


def decode(raw: bytes, encoding: str, *, whole: bool = False) -> str | None:
    """Decode bytes; None if they are not in the encoding.

    Unless they are `whole`, an incomplete character at the end is dropped.
    """
    try:
        return codecs.getincrementaldecoder(encoding)().decode(raw, final=whole)
    except UnicodeError:
        return None


def _delimiter(text: str, usual: str) -> str:
    """Detect the delimiter: the one that splits every row into equally many values, at least 2.

    The usual one is preferred. If none does (a row is damaged), it is the one that splits the
    header into the most names.
    """
    ranks: dict[str, tuple[bool, int]] = {}
    for delimiter in sorted(DELIMITERS, key=lambda delimiter: delimiter != usual):
        widths = [len(row) for row in islice(_csv_rows(text, delimiter), COMPARED_ROWS)]
        ranks[delimiter] = (widths[0] > 1 and len(set(widths)) == 1, widths[0])
        if ranks[usual][0]:
            return usual
    return max(ranks, key=ranks.__getitem__)


def _decimal(rows: Iterable[Sequence[str]]) -> str:
    """Detect the decimal mark: a comma if some value must have one and none has a decimal point."""
    certain, number = False, Dialect(decimal=".").number
    for value in chain.from_iterable(islice(rows, 1, DECIMAL_ROWS)):
        if "." in value and number(value):
            return "."
        certain |= bool(DECIMAL_COMMA.fullmatch(value)) and not THOUSANDS.fullmatch(value)
    return "," if certain else "."


def csv_kinds(rows: Iterable[Sequence[str]], width: int, dialect: Dialect) -> list[Kind]:
    """Each column's kind: its first value's, or text if more words than numbers follow."""
    kinds: dict[int, Kind] = {}
    words = [0] * width  # minus numbers
    for number, row in enumerate(rows):
        if number >= COMPARED_ROWS and len(kinds) == width:
            break
        for i, value in enumerate(row[:width]):
            if value not in MISSING and (number < COMPARED_ROWS or i not in kinds):
                kind: Kind = "text" if dialect.number(value) is None else "number"
                words[i] += -1 if kind == "number" else any(map(str.isalpha, value))
                kinds.setdefault(i, "boolean" if value in BOOLEANS else kind)
    mixed = {i for i in kinds if kinds[i] == "number" and words[i] > 0}
    return ["text" if i in mixed else kinds.get(i, "unknown") for i in range(width)]


def open_arrow(
    stream: pa.NativeFile, columns: Sequence[int] | None = None
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Return the schema and the batches of an Arrow file (Feather) or a stream (Hugging Face
    datasets), with only some columns, given by index, or all."""
    options = pa.ipc.IpcReadOptions(included_fields=columns, use_threads=False)
    is_file = stream.read(len(ARROW_FILE)) == ARROW_FILE
    stream.seek(0)
    if not is_file:
        reader = pa.ipc.open_stream(stream, options=options)
        return reader.schema, iter(reader)
    reader = pa.ipc.open_file(stream, options=options)
    return reader.schema, map(reader.get_batch, range(reader.num_record_batches))


def _arrow_header(file: DataFile) -> Header:
    with file.open() as stream:
        schema = pq.read_schema(stream) if file.format == "Parquet" else open_arrow(stream)[0]
    metadata = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
    index = [name for name in metadata.get("index_columns", ()) if isinstance(name, str)]
    return _header(file, schema.names, [_arrow_kind(t) for t in schema.types], index)


def _header(
    file: DataFile, columns: Sequence[str], kinds: Sequence[Kind], index: Sequence[str] = ()
) -> Header:
    names = [name.strip() for name in columns]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise InputError(
            f"{file.uri}: column names must differ. Got '{twice[0]}' {names.count(twice[0])} times."
        )
    found = dict(zip(names, kinds, strict=True))
    if names.count("") > 1:
        del found[""]
    unnamed = {name for name in found if INDEX.fullmatch(name)}
    return Header(file, found, frozenset(unnamed.union(index)), tuple(columns))


def _arrow_kind(stored: pa.DataType) -> Kind:
    values = stored.value_type if types.is_dictionary(stored) else stored
    fit = (kind for kind, tests in ARROW_TYPES.items() if any(test(values) for test in tests))
    return next(fit, "other")
