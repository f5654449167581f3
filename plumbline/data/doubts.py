"""Columns that look like something else than they are read as, seen in a file's first rows."""

import re
from collections.abc import Mapping, Sequence

import pyarrow.parquet as pq

from plumbline.data.batches import read_batches
from plumbline.data.files import DataFile
from plumbline.data.header import MISSING, Header
from plumbline.errors import InputError

# $3.10, 45 %, 12,345.60, 1.234,5 €, (17)
WRITTEN = re.compile(
    r"\(?[+-]?\s?[$€£¥]?\s?[+-]?(\d{1,3}([,.' \xa0]\d{3})+|\d+)([.,]\d+)?\s?[%$€£¥]?\)?"
)
LONG = re.compile(r"[+-]?\d{16,300}")
LOOKED_AT = 1_000  # rows


def numbers_as_text(file: DataFile, header: Header, names: Sequence[str]) -> dict[str, str]:
    """Text columns of which at least half of the first values are numbers, and what is odd there.

    A number may be written for people ($3.10, 45 %, 12,345.60).
    """
    found = {name: _oddity(values, header) for name, values in _first(file, header, names).items()}
    return {name: odd for name, odd in found.items() if odd}


def _oddity(values: Sequence[str | None], header: Header) -> str:
    rows = [(row, v.strip()) for row, v in enumerate(values, 1) if v and v.strip() not in MISSING]
    odd = [(row, value) for row, value in rows if header.dialect.number(value) is None]
    words = [(row, value) for row, value in odd if not WRITTEN.fullmatch(value)]
    if not rows or 2 * len(words) > len(rows):
        return ""
    row, value = (words or odd or rows)[0]
    if words:
        return (
            f"at least half of its values are numbers, but row {row} has '{value[:60]}' "
            "(leave empty what is missing)"
        )
    help_ = header.dialect.mend_comma(value)
    return f"it has numbers written as text, '{value[:60]}' in row {row}" + (
        f" (if that is a decimal comma, {help_})" if help_ else " (write plain numbers)"
    )


def _first(file: DataFile, header: Header, names: Sequence[str]) -> dict[str, list[str | None]]:
    """The first values of columns as text; none if they cannot be read, which the pass will say."""
    if not names:
        return {}
    try:
        batch = next(read_batches(file, dict.fromkeys(names, "text"), header), None)
    except InputError:
        return {}
    return batch.slice(0, LOOKED_AT).to_pydict() if batch else {}


def long_integers(file: DataFile, header: Header, names: Sequence[str]) -> dict[str, int]:
    """Columns with an integer that float64 cannot hold, and one such integer.

    Identifiers and times in nanoseconds look like this. In CSV they are looked for among the first
    values, in Parquet in the statistics that most writers leave for each row group.
    """
    if file.is_csv:
        first = _first(file, header, names)
        found = [(n, int(v)) for n in first for v in first[n] if v and LONG.fullmatch(v.strip())]
    else:
        found = _extremes(file, {header.stored[name]: name for name in names})
    return {name: value for name, value in reversed(found) if int(float(value)) != value}


def _extremes(file: DataFile, names: Mapping[str, str]) -> list[tuple[str, int]]:
    """The least and the largest integer of columns in each row group of a Parquet file."""
    metadata = pq.read_metadata(file.open())
    found = []
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            told = column.statistics if column.path_in_schema in names else None
            if told is not None and told.has_min_max and isinstance(told.max, int):
                found += [(names[column.path_in_schema], v) for v in (told.min, told.max)]
    return found
