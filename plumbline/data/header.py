"""What the head of a file says: its columns, what they hold, and how it is written."""

import csv
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from plumbline.data.dialect import AUTO, Dialect, csv_rows, read_head
from plumbline.data.files import DataFile
from plumbline.errors import InputError

Kind = Literal["number", "boolean", "text", "other", "unknown"]
BOOLEANS = ("true", "True", "TRUE", "false", "False", "FALSE")
MISSING = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None")
# as pandas names an index without a name: read_csv(to_csv()), and to_parquet
INDEX = re.compile(r"|Unnamed: \d+(_level_\d+)?|__index_level_\d+__")


@dataclass(frozen=True)
class Header:
    """The columns of a file.

    Attributes:
        kinds: every column and what it holds.
        index: those that only number or name the rows: without a name, or pandas' index.
        columns: their names as the file writes them, possibly with spaces around them.
        dialect: how a CSV file is written.
    """

    kinds: dict[str, Kind]
    index: frozenset[str]
    columns: tuple[str, ...]
    dialect: Dialect = AUTO

    @property
    def stored(self) -> dict[str, str]:
        """Every column's name as the file writes it."""
        return {name.strip(): name for name in self.columns}

    @property
    def spaced(self) -> bool:
        """Whether spaces follow the delimiter, so that they belong to no name or value."""
        return any(name != name.strip() for name in self.columns)

    def named(self) -> str:
        """All columns for a message; a name with a space or comma in it is quoted."""
        return ", ".join(repr(n) if re.search(r"[\s,']", n) or not n else n for n in self.kinds)


def read_header(file: DataFile, asked: Dialect = AUTO) -> Header:
    """The columns of a file, from its head alone.

    In CSV a column's first value that is there decides its kind, and what follows must be of it;
    the kind of a column without any is unknown.

    Args:
        file: CSV or Parquet.
        asked: how CSV is written, as far as that is given.

    Raises:
        InputError: it is damaged or empty, or two columns have one name.
    """
    try:
        return _csv_header(file, asked) if file.is_csv else _parquet_header(file)
    except (pa.ArrowInvalid, csv.Error) as error:
        what = "CSV" if file.is_csv else "Parquet"
        raise InputError(f"{file.uri}: is not whole {what} ({_first(error)}).") from None
    except OSError as error:
        if isinstance(error, FileNotFoundError) or file.is_out_of_reach(error):
            raise
        raise InputError(f"{file.uri}: cannot be read ({_first(error)}).") from None


def _csv_header(file: DataFile, asked: Dialect) -> Header:
    text, dialect = read_head(file, asked)
    rows = csv_rows(text, dialect.delimiter)
    columns = next(rows)
    if any(name != name.strip() for name in columns):
        rows = ([value.strip() for value in row] for row in rows)
    return _header(file, columns, _csv_kinds(rows, len(columns), dialect), dialect=dialect)


def _parquet_header(file: DataFile) -> Header:
    schema = pq.read_schema(file.open())
    told = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
    index = [name for name in told.get("index_columns", ()) if isinstance(name, str)]
    return _header(file, schema.names, [_arrow_kind(t) for t in schema.types], index)


def _header(
    file: DataFile,
    columns: Sequence[str],
    kinds: Sequence[Kind],
    index: Sequence[str] = (),
    dialect: Dialect = AUTO,
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
    return Header(found, frozenset(unnamed.union(index)), tuple(columns), dialect)


def _csv_kinds(rows: Iterable[Sequence[str]], width: int, dialect: Dialect) -> list[Kind]:
    """What each column holds, from its first value that is there."""
    kinds: dict[int, Kind] = {}
    for row in rows:
        for i, value in enumerate(row[:width]):
            if i not in kinds and value not in MISSING:
                text = "text" if dialect.number(value) is None else "number"
                kinds[i] = "boolean" if value in BOOLEANS else text
        if len(kinds) == width:
            break
    return [kinds.get(i, "unknown") for i in range(width)]


def _arrow_kind(kind: pa.DataType) -> Kind:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return "text" if text or pa.types.is_string_view(kind) else "other"


def _first(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".")
