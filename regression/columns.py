"""What columns a file has, and which of them a table uses."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from regression.config import TableData
from regression.errors import InputError, refuse
from regression.files import DataFile

Kind = Literal["number", "boolean", "text", "other", "unknown"]
BOOLEANS = ("true", "True", "TRUE", "false", "False", "FALSE")
HEAD_BYTES = 1 << 20
MISSING = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None")


@dataclass(frozen=True)
class Columns:
    """What is read of each file.

    Attributes:
        kinds: every column that is read, with its kind; missing columns and other kinds are errors.
        numeric: the numeric features, in order.
        categorical: each categorical feature with its given levels; (): found in the pass.
        target: the column to predict.
        left_out: columns that are no feature because they hold no numbers.
        whole: the names of all columns, where features were not named and so all files must agree.
    """

    kinds: dict[str, Kind]
    numeric: tuple[str, ...]
    categorical: dict[str, tuple[str, ...]]
    target: str
    left_out: tuple[str, ...] = ()
    whole: frozenset[str] = frozenset()

    @property
    def reading(self) -> dict[str, Kind]:
        """The columns to read and as what: categorical ones as text, whatever they hold."""
        return {n: "text" if n in self.categorical else kind for n, kind in self.kinds.items()}


def choose_columns(data: TableData, file: DataFile) -> Columns:
    """Which columns of a table to read, from the head of its first file.

    Raises:
        InputError: the file cannot be read, a named column is missing or not of numbers, names
            stand twice, or no feature is left.
    """
    kinds = column_kinds(file)
    levels = data.categorical if isinstance(data.categorical, dict) else {}
    for key, names in (
        ("target", [data.target]),
        ("features", data.features or []),
        ("categorical", list(data.categorical)),
    ):
        for name in names:
            _check_column(f"data.{key}", name, kinds, file, text=key == "categorical")
    taken = {data.target, *data.categorical}
    rest = [name for name in kinds if name not in taken]
    numeric = data.features or [n for n in rest if kinds[n] in ("number", "boolean", "unknown")]
    left_out = [] if data.features else [n for n in rest if n not in numeric]
    if not numeric and not data.categorical:
        raise InputError(
            f"{file.uri}: has no numeric column besides the target '{data.target}'. "
            f"Its columns: {', '.join(kinds)}."
        )
    used = [*numeric, *data.categorical, data.target]
    return Columns(
        kinds={name: _as_number(kinds[name]) for name in used},
        numeric=tuple(numeric),
        categorical={name: tuple(levels.get(name, ())) for name in data.categorical},
        target=data.target,
        left_out=tuple(left_out),
        whole=frozenset() if data.features else frozenset(kinds),
    )


def check_columns(columns: Columns, file: DataFile) -> None:
    """Refuse a file whose columns or their kinds are not those of the table's first file."""
    kinds = column_kinds(file)
    if columns.whole and columns.whole != set(kinds):
        raise InputError(
            f"{file.uri}: its columns differ from the first file's: "
            f"{_differences(columns.whole, set(kinds))}. Make them alike, or name data.features."
        )
    for name, kind in columns.kinds.items():
        if name not in kinds:
            raise InputError(
                f"{file.uri}: has no column '{name}'. Its columns: {', '.join(kinds)}."
            )
        loose = file.is_csv and name in columns.categorical  # "1000" here and "10A" there
        if not loose and kinds[name] not in (kind, "unknown"):
            raise InputError(
                f"{file.uri}: column '{name}' must hold what it holds in the first "
                f"file, {kind}. Got {kinds[name]} instead."
            )


def column_kinds(file: DataFile) -> dict[str, Kind]:
    """Every column of a file and its kind, from its head alone.

    In CSV the first value that is there decides, and what follows must be of its kind; where none
    is there the kind is unknown.
    """
    try:
        if file.is_csv:
            names, kinds = _csv_head(file)
        else:
            schema = pq.read_schema(file.open())
            names, kinds = schema.names, [_arrow_kind(t) for t in schema.types]
    except (pa.ArrowInvalid, UnicodeDecodeError, csv.Error) as error:
        what = "CSV in UTF-8" if file.is_csv else "Parquet"
        raise InputError(f"{file.uri}: is not whole {what} ({_first(error)}).") from None
    except OSError as error:
        if isinstance(error, FileNotFoundError) or file.is_out_of_reach(error):
            raise
        raise InputError(f"{file.uri}: cannot be read ({_first(error)}).") from None
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"{file.uri}: column names must differ. Got '{twice[0]}' {names.count(twice[0])} times."
        )
    return dict(zip(names, kinds, strict=True))


def _csv_head(file: DataFile) -> tuple[list[str], list[Kind]]:
    with file.open() as stream:
        head = stream.read(HEAD_BYTES)
    whole = len(head) < HEAD_BYTES
    text = (head if whole else head[: head.rfind(b"\n") + 1]).decode("utf-8-sig")
    if not text.strip():
        raise InputError(
            f"{file.uri}: is empty. It must hold a header and rows, its first line "
            f"within {HEAD_BYTES:,} bytes."
        )
    reader = csv.reader(io.StringIO(text))
    names = next(reader)
    kinds: list[Kind | None] = [None] * len(names)
    for row in reader:
        for i, value in enumerate(row[: len(names)]):
            if kinds[i] is None and value not in MISSING:
                kinds[i] = csv_kind(value)
        if None not in kinds:
            break
    return names, [kind or "unknown" for kind in kinds]


def csv_kind(value: str) -> Kind:
    """The kind of one CSV value that is there."""
    if value in BOOLEANS:
        return "boolean"
    return "number" if is_number(value) else "text"


def is_number(value: str) -> bool:
    """Whether a CSV value reads as a number: Python's rules in ASCII, without underscores."""
    try:
        float(value)
    except ValueError:
        return False
    return value.isascii() and "_" not in value


def _as_number(kind: Kind) -> Kind:
    """A column that no value tells anything of is taken for numbers."""
    return "number" if kind == "unknown" else kind


def _arrow_kind(kind: pa.DataType) -> Kind:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return "text" if text or pa.types.is_string_view(kind) else "other"


def _check_column(
    key: str, name: str, kinds: dict[str, Kind], file: DataFile, *, text: bool
) -> None:
    if name not in kinds:
        raise refuse(key, f"a column of {file.uri} ({', '.join(kinds)})", name)
    if kinds[name] == "other" or (kinds[name] == "text" and not text):
        raise InputError(
            f"{key}: column '{name}' of {file.uri} must hold numbers. Got "
            f"{kinds[name]} instead; list a column of names in data.categorical."
        )


def _differences(expected: frozenset[str], found: set[str]) -> str:
    gone = [f"'{n}' is missing" for n in sorted(expected - found)]
    new = [f"'{n}' is new" for n in sorted(found - expected)]
    return ", ".join([*gone, *new])


def _first(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".")


def names_of(levels: dict[str, Sequence[str]]) -> list[str]:
    """The names of indicator columns: `column=level`."""
    return [f"{column}={level}" for column, found in levels.items() for level in found]
