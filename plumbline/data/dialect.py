"""How a CSV file is written: found from its head if that is certain, otherwise as configured."""

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice

from plumbline.config.data import TableData
from plumbline.data.files import DataFile
from plumbline.errors import InputError

HEAD_BYTES = 1 << 20
DELIMITERS = (",", ";", "\t", "|")
COMPARED_ROWS = 100  # must have equally many values under the right delimiter
DECIMAL_ROWS = 1_000
DECIMAL_COMMA = re.compile(r"\s*[+-]?\d*,\d+(?:[eE][+-]?\d+)?\s*")
THOUSANDS = re.compile(r"\s*[+-]?[1-9]\d{0,2}(?:,\d{3})+\s*")  # 1,234 may be either
csv.field_size_limit(1 << 22)  # characters in a value: as many as pyarrow takes in a row


@dataclass(frozen=True)
class Dialect:
    """The delimiter, the decimal sign and the encoding of CSV files.

    Attributes:
        delimiter, decimal: "auto" is found in each file's head.
        encoding: the name of a Python codec.
        configured: whether a configuration has keys for these; INPUT of a prediction has none.
    """

    delimiter: str = "auto"
    decimal: str = "auto"
    encoding: str = "utf-8"
    configured: bool = False

    def mend(self, key: str, value: str, otherwise: str) -> str:
        """What helps a file that is written in another way than it was read."""
        return f"set data.{key}: {value}" if self.configured else otherwise

    def undecodable(self, raw: bytes, place: str) -> InputError:
        """The error for bytes that are not in the encoding, with a guess at what they are in."""
        guesses = ("utf-16",) if b"\0" in raw else ("utf-8", "cp1252", "latin-1")
        others = (name for name in guesses if name != self.encoding)
        looks = next((name for name in others if decode(raw, name) is not None), "")
        called = {"cp1252": "Windows-1252 (or Latin-1)", "": "no text at all"}.get(looks, looks)
        help_ = self.mend("encoding", looks, "save it as UTF-8") if looks else "is it CSV?"
        return InputError(f"{place}: is not in {self.encoding}. It looks like {called}: {help_}.")

    def number(self, value: str) -> str | None:
        """A value that reads as a number, as Python writes it; None for any other.

        Python's rules in ASCII, without underscores.
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
    """How a table's CSV files are written, as far as its keys say."""
    return Dialect(data.delimiter, data.decimal, codecs.lookup(data.encoding).name, True)


def read_head(file: DataFile, asked: Dialect) -> tuple[str, Dialect]:
    """The first lines of a CSV file, and how it is written: as asked, with nothing left to find.

    A byte order mark of UTF-16 is certain; it overrules UTF-8.

    Raises:
        InputError: the bytes are not in the encoding, or there are none.
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
            f"{file.uri}: is empty. It must hold a header and rows, its first line "
            f"within {HEAD_BYTES:,} bytes."
        )
    delimiter, decimal = asked.delimiter, asked.decimal
    if delimiter == "auto":
        delimiter = _delimiter(text, file.usual_delimiter)
    if decimal == "auto":
        decimal = "." if delimiter == "," else _decimal(csv_rows(text, delimiter))
    return text, replace(asked, delimiter=delimiter, decimal=decimal, encoding=encoding)


def csv_rows(text: str, delimiter: str) -> Iterator[list[str]]:
    """The header and the rows after it; blank lines are no rows."""
    return filter(None, csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


def decode(raw: bytes, encoding: str, *, whole: bool = False) -> str | None:
    """The text of bytes, without a character that is cut off at the end unless they are whole.

    None if they are not in the encoding.
    """
    try:
        return codecs.getincrementaldecoder(encoding)().decode(raw, final=whole)
    except UnicodeError:
        return None


def _delimiter(text: str, usual: str) -> str:
    """The usual one if it gives every row as many values as there are names, at least two.

    Otherwise the one that does; if none does (a row is damaged), the one that splits the header
    into the most names.
    """
    ranks: dict[str, tuple[bool, int]] = {}
    for delimiter in sorted(DELIMITERS, key=lambda delimiter: delimiter != usual):
        widths = [len(row) for row in islice(csv_rows(text, delimiter), COMPARED_ROWS)]
        ranks[delimiter] = (widths[0] > 1 and len(set(widths)) == 1, widths[0])
        if ranks[usual][0]:
            return usual
    return max(ranks, key=ranks.__getitem__)


def _decimal(rows: Iterable[Sequence[str]]) -> str:
    """A comma if some value can be read in no other way and no value has a decimal point."""
    certain, number = False, Dialect(decimal=".").number
    for value in chain.from_iterable(islice(rows, 1, DECIMAL_ROWS)):
        if "." in value and number(value):
            return "."
        certain |= bool(DECIMAL_COMMA.fullmatch(value)) and not THOUSANDS.fullmatch(value)
    return "," if certain else "."
