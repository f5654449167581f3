"""Find columns in a file's first rows that look different from what they are read as."""

import re
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from plumbline.config.rows import SplitBy
from plumbline.data.batches import as_text, read_batches
from plumbline.data.encoding import date_parts
from plumbline.data.files import DataFile
from plumbline.data.header import MISSING, Header, Kind
from plumbline.errors import InputError

# $3.10, 45 %, 12,345.60, 1.234,5 €, (17)
WRITTEN = re.compile(
    r"\(?[+-]?\s?[$€£¥]?\s?[+-]?(\d{1,3}([,.' \xa0]\d{3})+|\d+)([.,]\d+)?\s?[%$€£¥]?\)?"
)
DECIMAL = re.compile(r"[+-]?\d*\.\d+")  # 5.1: as the name of a column, a value
LONG = re.compile(r"[+-]?\d{16,300}")
# id, PassengerId, order_id, pid, caseid, idno, row index; but not paid, bid, grid
IDENTIFIER = re.compile(
    r"(?i:(?:.*[\W_])?(?:(?:uu?|p|pat|case|study|sch)?id|id(?:no|num)|index|rownames))|.*[a-z]I[dD]"
)
# 2024-01-31, 2024/01/31, after which a time may follow, and 2024-01; 2024 and 20240131 are numbers
ISO_DATE = r"\d{4}(?:-\d\d(?:-\d\d|$)|/\d\d/\d\d)"
# 31.1.2024, 1/31/24, Jan 31 2024, 31 January 2024
MONTH = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*[.]?"
OTHER_DATE = rf"(?i)^(?:\d{{1,4}}([/.-]\d{{1,4}}){{2}}|(?:\d\d? )?{MONTH} (?:\d\d?,? )?\d{{4}})\b"
LOOKED_AT, JUDGED = 10_000, 1_000  # rows checked: for levels, and for the format of numbers
FEW = 10  # up to this many levels may have fewer than two rows each
SENTENCE = 4  # words on average, from which on values are free text


def read_head(header: Header, names: Sequence[str]) -> dict[str, pa.Array]:
    """The first values of columns as text; empty without rows or if they cannot be read."""
    if not names:
        return {}
    try:
        batch = next(read_batches(header, dict.fromkeys(names, "text")))
    except (StopIteration, InputError):  # the pass will raise it
        return {}
    return {name: as_text(batch[name].slice(0, LOOKED_AT)) for name in names}


def numbers_as_text(head: Mapping[str, pa.Array], header: Header) -> dict[str, str]:
    """Text columns with at least half numbers among the first values, and what is wrong with them.

    Numbers include those formatted for people ($3.10, 45 %, 12,345.60).
    """
    texts = [name for name in head if header.kinds[name] == "text"]
    found = {name: _oddity(head[name].slice(0, JUDGED).to_pylist(), header) for name in texts}
    return {name: odd for name, odd in found.items() if odd}


def all_dates(values: pa.Array) -> bool:
    """Whether there are any values, and all are dates or times in ISO 8601."""
    there = values.drop_null()
    first = there.slice(0, JUDGED).to_pandas()
    return bool(first.str.match(ISO_DATE).all() and len(first)) and not (
        np.isnan(date_parts(there.to_pandas())["year"]).any()
    )


def unsuitable_columns(
    head: Mapping[str, pa.Array], header: Header, names: Sequence[str], max_levels: int
) -> dict[str, str]:
    """Columns that are not features unless the configuration names them, with the reason.

    Args:
        head: the first values of columns that are text or unknown, or named like an identifier.
        header: of the file.
        names: the columns in question.
        max_levels: the most levels that a column of text may have.
    """
    reasons = {}
    for name in names:
        if header.kinds[name] in ("other", "date"):
            what = {"other": "neither numbers nor text", "date": "dates, which data.dates takes"}
            reasons[name] = what[header.kinds[name]]
        elif len(head.get(name, ())):
            reasons[name] = _misfit(head[name], header.kinds[name], max_levels)
            if reasons[name] and pc.all(pc.match_substring_regex(head[name], OTHER_DATE)).as_py():
                reasons[name] = f"dates such as '{head[name].drop_null()[0]}', not in ISO 8601"
    return {name: why for name, why in reasons.items() if why}


def _misfit(values: pa.Array, kind: Kind, max_levels: int) -> str:
    """Why a column with these first values is not a feature; "" if it may be."""
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
    header: Header, head: Mapping[str, pa.Array], names: Collection[str], most: int
) -> frozenset[str]:
    """The columns with more than `most` different values among the first rows.

    Columns that are in `head`, as read_head returns it, are not read again.
    """
    known = {**head, **read_head(header, [name for name in names if name not in head])}
    return frozenset(n for n in names if n in known and pc.count_distinct(known[n]).as_py() > most)


def warnings_of(
    header: Header, numbers: Sequence[str], misread: Mapping[str, str]
) -> tuple[str, ...]:
    """Warn of a file that seems to have no header, each text column left out because of its
    numbers, and each numeric column with integers beyond the precision of float64.

    Args:
        header: of the file to look at.
        numbers: the columns that are read as numbers.
        misread: as numbers_as_text returns them.
    """
    uri = header.file.uri
    text = (
        f"column '{name}' is left out, because {why}; data.categorical takes it as names; {uri}"
        for name, why in misread.items()
    )
    digits = (
        f"column '{name}' holds integers beyond 2^53, such as {value}, which lose digits as "
        "float64; list an identifier in data.exclude, and count times from a later start"
        for name, value in long_integers(header, numbers).items()
    )
    return (*filter(None, [header_hint(header)]), *text, *digits)


def header_hint(header: Header) -> str:
    """A hint if a name is a decimal number, as values in the first line of a file without a header
    are; "" if none is."""
    name = next(filter(DECIMAL.fullmatch, header.kinds), "")
    odd = f"'{name}' is an odd name for a column: has {header.file.uri} a header?"
    return f"{odd} If not, add the names as its first line" if name else ""


def check_cut(split: SplitBy, header: Header) -> None:
    """Raise InputError for a cut that cannot be compared with the values of its column."""
    if split.time is None:
        return
    kind, dated = header.kinds[split.time], isinstance(split.cut, str)
    if kind not in ("unknown", *(("date", "text") if dated else ("number",))):
        what = "dates" if dated else "numbers"
        raise InputError(
            f"data.split.cut: column '{split.column}' of {header.file.uri} must hold {what}, like "
            f"the cut {split.cut}. Got {kind} instead."
        )


def long_integers(header: Header, names: Sequence[str]) -> dict[str, int]:
    """Columns with an integer that float64 cannot hold, and one such integer.

    Identifiers and times in nanoseconds are such. CSV and Arrow files are checked in their first
    values, Parquet files in the statistics that most writers store for each row group.
    """
    if header.file.format != "Parquet":
        head = read_head(header, names)
        first = {name: head[name].slice(0, JUDGED).to_pylist() for name in head}
        found = [(n, int(v)) for n in first for v in first[n] if v and LONG.fullmatch(v.strip())]
    else:
        stored = {stored: name for name, stored in header.stored.items() if name in names}
        found = _extremes(header.file, stored)
    return {name: value for name, value in reversed(found) if int(float(value)) != value}


def _extremes(file: DataFile, names: Mapping[str, str]) -> list[tuple[str, int]]:
    """The smallest and the largest integer of columns in each row group of a Parquet file."""
    metadata = pq.read_metadata(file.open())
    found = []
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            known = column.statistics if column.path_in_schema in names else None
            if known is not None and known.has_min_max and isinstance(known.max, int):
                found += [(names[column.path_in_schema], v) for v in (known.min, known.max)]
    return found
