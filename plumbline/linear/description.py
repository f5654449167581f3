"""A table as the pass saw it: a line a column."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from plumbline.config.schema import TableData
from plumbline.data.encoding import MISSING, hole_in, parts_of
from plumbline.linear.dataset import Dataset, level_counts

CONSTANT = "a constant, which tells nothing"


@dataclass(frozen=True)
class Column:
    """What a column holds in the rows to train on, and what becomes of it.

    Attributes:
        name: as the files have it.
        becomes: what the model makes of it, or why it is left out.
        kind: number, boolean, date or categorical; None of a column that is not read.
        missing: the share of the rows without a value; None if it is not known.
        levels: how many there are, or classes of a target.
        most_frequent, share: the level that most rows have, and their share.
        mean, deviation: of the values of a number that are there.
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
    """The features, the target, the weight, and what is left out, in this order.

    Args:
        data: whose rows can be read again.
        section: the configuration's.
    """
    # of a column without an indicator of holes
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
    """Those that are neither a feature nor the target."""
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
    """Those of the numeric features, and the target's if it is a number."""
    factor, kinds = data.summary.train, data.table.columns.kinds
    spread = factor.r[1:, 1:].norm(dim=0)
    spread = spread.where(spread > factor.rounding(), 0.0) / float(factor.r[0, 0])
    means = dict(zip(factor.columns, factor.means.tolist(), strict=True))
    deviations = dict(zip(factor.columns, spread.tolist(), strict=True))
    for name in (*data.encoding.numbers, *(() if data.encoding.classes else [data.target])):
        holes = means.get(hole_in(name), missing)
        becomes = f"feature{', and an indicator of holes' * (hole_in(name) in means)}"
        deviation = deviations[name] / (1 - (holes or 0.0) or 1.0) ** 0.5
        becomes = becomes if deviation else CONSTANT
        yield Column(name, becomes, kinds[name], holes, mean=means[name], deviation=deviation)


def _dates(data: Dataset, missing: float | None) -> Iterator[Column]:
    """Those of dates and times."""
    for name, parts in data.encoding.dates.items():
        holes = missing
        for part in {*data.encoding.holes}.intersection(parts_of(name, parts)):
            counts = level_counts(part, ("", MISSING), data.summary.train)
            holes = counts[MISSING] / sum(counts.values())
        yield Column(name, ", ".join(parts) or CONSTANT, "date", holes)


def _categorical(data: Dataset, missing: float | None) -> Iterator[Column]:
    """Those of the categorical features, and the target's if it has classes."""
    classes = {data.target: data.encoding.classes} if data.encoding.classes else {}
    for name, levels in (data.encoding.levels | classes).items():
        rows = level_counts(name, levels, data.profiled.train)
        total = sum(rows.values()) or 1.0
        holes = rows.pop(MISSING) / total if MISSING in rows else missing
        most = max(rows, key=rows.__getitem__, default=None)
        share = rows[most] / total if rows else None
        others = len(levels) - 1
        becomes = f"{others} indicator{'s'[: others != 1]}" if others else "a constant, left out"
        yield Column(name, becomes, "categorical", holes, len(rows), most, share)
