"""Describe the columns of a table as the pass over it found them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from plumbline.config.schema import TableData
from plumbline.data.encoding import MISSING, missing_indicator, parts_of
from plumbline.linear.dataset import Dataset, level_counts

CONSTANT = "a constant, which tells nothing"


@dataclass(frozen=True)
class Column:
    """A column in the training rows, and what the model makes of it.

    Attributes:
        name: as in the files.
        becomes: what the model makes of it, or why it is left out.
        kind: number, boolean, date or categorical; None for a column that is not read.
        missing: the share of the rows without a value; None if unknown.
        levels: the number of levels, or of classes of the target.
        most_frequent, share: the most frequent level and its share of the rows.
        mean, deviation: mean and standard deviation of the values that are not missing.
    """

    name: str
    becomes: str
    kind: str | None = None
    missing: float | None = None
    levels: int | None = None
    most_frequent: str | None = None
    share: float | None = None
    mean: float | None = None
    deviation: float | None = None


def describe(data: Dataset, section: TableData) -> list[Column]:
    """Describe the features, the target, the weight and the columns left out, in this order.

    Args:
        data: read from files.
        section: the configuration section `data`.
    """
    # share in a column without an indicator of missing values
    missing = None if section.missing == "drop" else 0.0
    known = [*_numbers(data, missing), *_dates(data, missing), *_categorical(data, missing)]
    found = {column.name: column for column in known}
    target, dropped = found.pop(data.target), data.summary.dropped
    if section.missing == "impute" and not section.weight:  # only rows without a target are dropped
        missing = dropped / (data.summary.rows + dropped)
    logarithm = ", described as its logarithm" if section.log_target else ""
    becomes = f"target{', of classes' if data.encoding.classes else logarithm}"
    target = replace(target, becomes=becomes, missing=missing)
    return [*found.values(), target, *_outside(data, section)]


def _outside(data: Dataset, section: TableData) -> list[Column]:
    """The columns that are neither a feature nor the target."""
    columns, found = data.table.columns, []
    group, used = section.split.group, {data.target, *data.encoding.columns}
    if group and group not in {*used, *section.exclude}:
        found.append(Column(group, "group, held out together"))
    if section.weight:
        found.append(Column(section.weight, "weight", "number"))
    found += [Column(name, f"left out: {why}") for name, why in columns.left_out.items()]
    found += [Column(name, "left out: data.exclude") for name in section.exclude]
    damaged = sorted(columns.whole - used - {column.name for column in found} - {group})
    return found + [Column(name, "left out: numbers written as text") for name in damaged]


def _numbers(data: Dataset, missing: float | None) -> Iterator[Column]:
    """The numeric features, and the target if it is a number."""
    factor, kinds = data.summary.train, data.table.columns.kinds
    spread = factor.r[1:, 1:].norm(dim=0)
    spread = spread.where(spread > factor.rounding(), 0.0) / float(factor.r[0, 0])
    means = dict(zip(factor.columns, factor.means.tolist(), strict=True))
    deviations = dict(zip(factor.columns, spread.tolist(), strict=True))
    for name in (*data.encoding.numbers, *(() if data.encoding.classes else [data.target])):
        indicator = missing_indicator(name)
        absent = means.get(indicator, missing)
        becomes = f"feature{', and an indicator of missing values' * (indicator in means)}"
        deviation = deviations[name] / (1 - (absent or 0.0) or 1.0) ** 0.5
        becomes = becomes if deviation else CONSTANT
        yield Column(name, becomes, kinds[name], absent, mean=means[name], deviation=deviation)


def _dates(data: Dataset, missing: float | None) -> Iterator[Column]:
    """The columns of dates and times."""
    for name, parts in data.encoding.dates.items():
        absent = missing
        for part in {*data.encoding.holes}.intersection(parts_of(name, parts)):
            counts = level_counts(part, ("", MISSING), data.summary.train)
            absent = counts[MISSING] / sum(counts.values())
        yield Column(name, ", ".join(parts) or CONSTANT, "date", absent)


def _categorical(data: Dataset, missing: float | None) -> Iterator[Column]:
    """The categorical features, and the target if it has classes."""
    classes = {data.target: data.encoding.classes} if data.encoding.classes else {}
    for name, levels in (data.encoding.levels | classes).items():
        rows = level_counts(name, levels, data.profiled.train)
        total = sum(rows.values()) or 1.0
        absent = rows.pop(MISSING) / total if MISSING in rows else missing
        most = max(rows, key=rows.__getitem__, default=None)
        share = None if most is None else rows[most] / total
        others = len(levels) - 1
        becomes = f"{others} indicator{'s'[: others != 1]}" if others else "a constant, left out"
        yield Column(name, becomes, "categorical", absent, len(rows), most, share)
