"""Where a CSV file that could not be read goes wrong. Slow and exact; runs only after a failure."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence

from plumbline.data.dialect import DECIMAL_COMMA
from plumbline.data.files import DataFile
from plumbline.data.header import MISSING, Header, Kind, csv_kind
from plumbline.errors import InputError


def first_bad_row(file: DataFile, header: Header) -> InputError | None:
    """The first row with more or fewer values than the header has names."""
    for number, names, row in _rows(file, header):
        if len(row) != len(names):
            return InputError(
                f"{file.uri}: row {number} must have {len(names)} values, as the header has names. "
                f"Got {len(row)} instead; is the file cut off, or a value with "
                f"{header.dialect.delimiter!r} in it not quoted?"
            )
    return None


def first_bad_cell(file: DataFile, kinds: Mapping[str, Kind], header: Header) -> InputError | None:
    """The first value that is not of its column's kind, or not in the encoding."""
    dialect = header.dialect
    for number, names, row in _rows(file, header):
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


def _rows(file: DataFile, header: Header) -> Iterator[tuple[int, Sequence[str], Sequence[str]]]:
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
