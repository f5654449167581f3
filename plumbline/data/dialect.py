"""How a CSV file is written: found from its head if that is certain, otherwise as configured."""

import codecs
import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain, islice

from plumbline.config.data import TableData
from plumbline.errors import InputError

DELIMITERS = (",", ";", "\t", "|")
COMPARED_ROWS = 100  # must have equally many values under the right delimiter
DECIMAL_ROWS = 1_000
DECIMAL_COMMA = re.compile(r"\s*[+-]?\d*,\d+(?:[eE][+-]?\d+)?\s*")
THOUSANDS = re.compile(r"\s*[+-]?[1-9]\d{0,2}(?:,\d{3})+\s*")  # 1,234 may be either


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

    def decoded(self, head: bytes, uri: str, *, whole: bool) -> tuple[str, "Dialect"]:
        """The text of a file's first bytes and the dialect with its encoding.

        A byte order mark of UTF-16 is certain; it overrules UTF-8.

        Raises:
            InputError: the bytes are not in the encoding.
        """
        utf16 = self.encoding == "utf-8" and head.startswith(
            (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        )
        found = replace(self, encoding="utf-16") if utf16 else self
        name = "utf-8-sig" if found.encoding == "utf-8" else found.encoding
        try:
            text = codecs.getincrementaldecoder(name)().decode(head, final=whole)
        except UnicodeError:
            raise self.undecodable(head, uri) from None
        return (text if whole else text[: text.rfind("\n") + 1]), found

    def undecodable(self, head: bytes, uri: str) -> InputError:
        """The error for bytes that are not in the encoding, with a guess at what they are in."""
        guesses = ("utf-16",) if b"\0" in head else ("utf-8", "cp1252", "latin-1")
        looks = next(name for name in (*guesses, "") if name != self.encoding and fits(head, name))
        called = {"cp1252": "Windows-1252 (or Latin-1)", "": "no text at all"}.get(looks, looks)
        help_ = self.mend("encoding", looks, "save it as UTF-8") if looks else "is it CSV?"
        return InputError(f"{uri}: is not in {self.encoding}. It looks like {called}: {help_}.")

    def found_in(self, text: str, usual: str) -> "Dialect":
        """The dialect with nothing left to find.

        Args:
            text: the head of a file.
            usual: the delimiter that its name promises.
        """
        delimiter = self.delimiter
        if delimiter == "auto":
            delimiter = _delimiter(text, usual)
        decimal = self.decimal
        if decimal == "auto":
            rows = [] if delimiter == "," else first_rows(text, delimiter, DECIMAL_ROWS)[1:]
            decimal = _decimal(chain.from_iterable(rows))
        return replace(self, delimiter=delimiter, decimal=decimal)

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


csv.field_size_limit(1 << 22)  # characters in a value: as many as pyarrow takes in a row


def first_rows(text: str, delimiter: str, most: int) -> list[list[str]]:
    """The header and the rows after it; blank lines are no rows."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    return list(islice((row for row in reader if row), most))


def fits(head: bytes, encoding: str) -> bool:
    try:
        codecs.getincrementaldecoder(encoding)().decode(head) if encoding else None
    except UnicodeError:
        return False
    return True


def _delimiter(text: str, usual: str) -> str:
    """The usual one if it gives every row as many values as there are names, at least two.

    Otherwise the one that does; if none does (a row is damaged), the one that splits the header
    into the most names.
    """
    order = sorted(DELIMITERS, key=lambda delimiter: delimiter != usual)
    names: dict[str, int] = {}
    even: dict[str, int] = {}
    for delimiter in order:
        widths = [len(row) for row in first_rows(text, delimiter, COMPARED_ROWS)]
        names[delimiter] = widths[0] if widths else 0
        if names[delimiter] > 1 and len(set(widths)) == 1:
            even[delimiter] = names[delimiter]
            if delimiter == usual:
                return usual
    likely = even or names
    return max(likely, key=lambda delimiter: likely[delimiter])


def _decimal(values: Iterable[str]) -> str:
    """A comma if some value can be read in no other way and no value has a decimal point."""
    certain, number = False, Dialect(decimal=".").number
    for value in values:
        if "." in value and number(value):
            return "."
        certain |= bool(DECIMAL_COMMA.fullmatch(value)) and not THOUSANDS.fullmatch(value)
    return "," if certain else "."
