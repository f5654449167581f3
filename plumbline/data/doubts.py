"""Columns that look like something else than they are read as, seen in a file's first rows."""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from plumbline.config.rows import Together
from plumbline.data.batches import read_batches
from plumbline.data.encoding import date_parts
from plumbline.data.files import DataFile
from plumbline.data.header import MISSING, Header, Kind
from plumbline.errors import InputError

# $3.10, 45 %, 12,345.60, 1.234,5 €, (17)
WRITTEN = re.compile(
    r"\(?[+-]?\s?[$€£¥]?\s?[+-]?(\d{1,3}([,.' \xa0]\d{3})+|\d+)([.,]\d+)?\s?[%$€£¥]?\)?"
)
LONG = re.compile(r"[+-]?\d{16,300}")
# id, PassengerId, order_id, row index
IDENTIFIER = re.compile(r"(?i:(?:.*[\W_])?(?:(?:uu)?id|index|rownames))|.*[a-z]I[dD]")
ISO_DATE = r"\d{4}-\d\d-\d\d"  # and a time after it; 2024 and 20240131 are numbers
LOOKED_AT, JUDGED = 10_000, 1_000  # rows: for levels, and for how numbers are written
FEW = 10  # levels that may stand in less than two rows each
SENTENCE = 4  # words, on average: no name


def read_head(file: DataFile, header: Header, names: Sequence[str]) -> dict[str, pa.Array]:
    """The first values of columns as text; none if they cannot be read, which the pass will say."""
    try:
        batches = read_batches(file, dict.fromkeys(names, "text"), header) if names else iter(())
        batch = next(batches, None)
    except InputError:
        return {}
    if batch is None:
        return {}
    return {name: pc.cast(batch[name].slice(0, LOOKED_AT), pa.string()) for name in names}


def numbers_as_text(head: Mapping[str, pa.Array], header: Header) -> dict[str, str]:
    """Text columns of which at least half of the first values are numbers, and what is odd there.

    A number may be written for people ($3.10, 45 %, 12,345.60).
    """
    texts = [name for name in head if header.kinds[name] == "text"]
    found = {name: _oddity(head[name].slice(0, JUDGED).to_pylist(), header) for name in texts}
    return {name: odd for name, odd in found.items() if odd}


def all_dates(values: pa.Array) -> bool:
    """Whether there are values, and all of them are dates or times in ISO 8601."""
    there = values.drop_null()
    first = there.slice(0, JUDGED).to_pandas()
    return bool(first.str.match(ISO_DATE).all() and len(first)) and not (
        np.isnan(date_parts(there.to_pandas())["year"]).any()
    )


def unfit(
    head: Mapping[str, pa.Array], header: Header, names: Sequence[str], max_levels: int
) -> dict[str, str]:
    """Columns that are no feature unless a configuration names them, and why.

    Args:
        head: the first values of those that are text or unknown, or named like an identifier.
        header: of the file.
        names: the columns in question.
        max_levels: that a column of text may have.
    """
    reasons = {}
    for name in names:
        if header.kinds[name] in ("other", "date"):
            what = {"other": "neither numbers nor text", "date": "dates, which data.dates takes"}
            reasons[name] = what[header.kinds[name]]
        elif len(head.get(name, ())):
            reasons[name] = _misfit(head[name], header.kinds[name], max_levels)
    return {name: why for name, why in reasons.items() if why}


def _misfit(values: pa.Array, kind: Kind, max_levels: int) -> str:
    """Why the first values of a column make no feature; "" if they may."""
    there = values.drop_null()
    rows, levels = len(there), pc.count_distinct(there).as_py()
    seen = f"{levels:,} different values in {rows:,} rows"
    if not rows:
        return f"no value in the first {len(values):,} rows"
    if kind != "text":  # its name says that it is an identifier
        whole = pc.all(pc.match_substring_regex(there, r"^[+-]?\d+$")).as_py()
        return f"an identifier, {seen}" if whole and levels == rows else ""
    if levels == rows or levels > max(FEW, rows // 2):
        words = pc.mean(pc.count_substring(there, " ")).as_py() + 1
        return f"{'free text' if words >= SENTENCE else 'an identifier'}, {seen}"
    return f"{seen}, more than data.max_levels" if levels > max_levels else ""


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
    help_ = header.dialect.help_with_comma(value)
    return f"it has numbers written as text, '{value[:60]}' in row {row}" + (
        f" (if that is a decimal comma, {help_})" if help_ else " (write plain numbers)"
    )


def many_valued(
    file: DataFile, header: Header, head: Mapping[str, pa.Array], names: Iterable[str], most: int
) -> frozenset[str]:
    """The columns with more than `most` different values among the first. Those that are in the
    head, as read_head gives it, are not read again."""
    names = [*names]
    known = {**head, **read_head(file, header, [name for name in names if name not in head])}
    there = (name for name in names if name in known)
    return frozenset(name for name in there if pc.count_distinct(known[name]).as_py() > most)


def warnings_of(
    file: DataFile, header: Header, numbers: Sequence[str], doubts: Mapping[str, str]
) -> tuple[str, ...]:
    """A line for each text column that is left out for its numbers, and for each column of numbers
    that has integers beyond float64.

    Args:
        file: with this header.
        header: of the file.
        numbers: columns that are read as such.
        doubts: as numbers_as_text gives them.
    """
    text = (
        f"column '{name}' is left out, because {why}; {file.uri}" for name, why in doubts.items()
    )
    digits = (
        f"column '{name}' holds integers beyond 2^53, such as {value}, which lose digits as "
        "float64; list an identifier in data.exclude, and count times from a later start"
        for name, value in long_integers(file, header, numbers).items()
    )
    return (*text, *digits)


def check_cut(split: Together, file: DataFile, header: Header) -> None:
    """Refuse a cut that the values of its column cannot be compared with."""
    if split.time is None:
        return
    kind, dated = header.kinds[split.time], isinstance(split.cut, str)
    if kind not in ("unknown", *(("date", "text") if dated else ("number",))):
        what = "dates" if dated else "numbers"
        raise InputError(
            f"data.split.cut: column '{split.column}' of {file.uri} must hold {what}, as the cut "
            f"{split.cut} is one. Got {kind} instead."
        )


def long_integers(file: DataFile, header: Header, names: Sequence[str]) -> dict[str, int]:
    """Columns with an integer that float64 cannot hold, and one such integer.

    Identifiers and times in nanoseconds look like this. In CSV they are looked for among the first
    values, and so in Arrow, in Parquet in the statistics that most writers leave for each group.
    """
    if file.format != "Parquet":
        head = read_head(file, header, names)
        first = {name: head[name].slice(0, JUDGED).to_pylist() for name in head}
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
            known = column.statistics if column.path_in_schema in names else None
            if known is not None and known.has_min_max and isinstance(known.max, int):
                found += [(names[column.path_in_schema], v) for v in (known.min, known.max)]
    return found
