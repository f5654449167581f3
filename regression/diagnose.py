"""Where a CSV file that could not be read goes wrong. Slow and exact; runs only after a failure."""

import csv
import io
from collections.abc import Iterator

from regression.columns import MISSING, Kind, csv_kind
from regression.errors import InputError
from regression.files import DataFile


def first_bad_row(file: DataFile) -> InputError | None:
    """The first row with more or fewer values than the header has names."""
    for number, names, row in _rows(file):
        if len(row) != len(names):
            return InputError(
                f"{file.uri}: row {number} must have {len(names)} values, as the header has names. "
                f"Got {len(row)} instead; is the file cut off, or a comma not quoted?"
            )
    return None


def first_bad_cell(file: DataFile, kinds: dict[str, Kind]) -> InputError | None:
    """The first value that is not of its column's kind."""
    for number, names, row in _rows(file):
        for name, value in zip(names, row, strict=False):
            kind = kinds.get(name)
            if kind not in (None, "text") and value not in MISSING and csv_kind(value) != kind:
                return InputError(
                    f"{file.uri}: column '{name}', row {number} must be a {kind}. "
                    f"Got '{value[:60]}' instead."
                )
    return None


def _rows(file: DataFile) -> Iterator[tuple[int, list[str], list[str]]]:
    """(row number from 1, the header's names, the row's values); blank lines are no rows."""
    with file.open() as stream:
        text = io.TextIOWrapper(
            io.BufferedReader(stream), encoding="utf-8-sig", errors="replace", newline=""
        )
        reader = csv.reader(text)
        names = next(reader)
        yield from ((n, names, row) for n, row in enumerate((r for r in reader if r), start=1))
