"""A table as the pass saw it: a line a column."""

from dataclasses import dataclass

from plumbline.config.schema import TableData
from plumbline.data.encoding import MISSING, hole_in, parts_of
from plumbline.linear.dataset import Dataset, level_counts


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
    columns = data.table.columns
    outside = [Column(name, f"left out: {why}") for name, why in columns.left_out.items()]
    outside += [Column(name, "left out: data.exclude") for name in section.exclude]
    described = {data.target, *data.encoding.columns, *(column.name for column in outside)}
    damaged = sorted(columns.whole - described - {section.weight, section.split.group})
    outside += [Column(name, "left out: numbers written as text") for name in damaged]
    if section.weight:
        outside.insert(0, Column(section.weight, "weight", "number"))
    group = section.split.group
    if group and group not in {data.target, *data.encoding.columns, *section.exclude}:
        outside.insert(0, Column(group, "group, held out together"))
    numbers, levels = _numbers(data, section), _categorical(data, section)
    target = numbers.pop() if not data.encoding.classes else levels.pop()
    return [*numbers, *_dates(data, section), *levels, target, *outside]


def _dates(data: Dataset, section: TableData) -> list[Column]:
    """Those of dates and times."""
    found = []
    for name, parts in data.encoding.dates.items():
        missing = _missing(section)
        for part in {*data.encoding.holes}.intersection(parts_of(name, parts)):
            counts = level_counts(part, ("", MISSING), data.summary.train)
            missing = counts[MISSING] / sum(counts.values())
        becomes = ", ".join(parts) or "a constant, which tells nothing"
        found.append(Column(name, becomes, "date", missing))
    return found


def _numbers(data: Dataset, section: TableData) -> list[Column]:
    """Those of the numeric features, and the target's if it is a number."""
    factor, kinds = data.summary.train, data.table.columns.kinds
    spread, size = factor.r[1:, 1:].norm(dim=0), float(factor.r[0, 0])
    spread = spread.where(spread > factor.rounding(), 0.0) / size
    means = factor.means
    place = {name: i for i, name in enumerate(factor.columns)}
    found = []
    for name in (*data.encoding.numbers, *(() if data.encoding.classes else [data.target])):
        hole = place.get(hole_in(name))
        missing = _missing(section) if hole is None else float(means[hole])
        deviation = float(spread[place[name]]) / (1 - (missing or 0.0) or 1.0) ** 0.5
        becomes = "feature" if hole is None else "feature, and an indicator of holes"
        becomes = becomes if deviation else "a constant, which tells nothing"
        if name == data.target:
            becomes = "target, described as its logarithm" if section.log_target else "target"
            missing = _without_target(data, section)
        mean = float(means[place[name]])
        found.append(Column(name, becomes, kinds[name], missing, mean=mean, deviation=deviation))
    return found


def _categorical(data: Dataset, section: TableData) -> list[Column]:
    """Those of the categorical features, and the target's if it has classes."""
    classes = {data.target: data.encoding.classes} if data.encoding.classes else {}
    found = []
    for name, levels in (data.encoding.levels | classes).items():
        rows = level_counts(name, levels, data.profiled.train)
        total = sum(rows.values()) or 1.0
        missing = rows.pop(MISSING) / total if MISSING in rows else _missing(section)
        most = max(rows, key=rows.__getitem__, default=None)
        share = rows[most] / total if rows else None
        others = len(levels) - 1
        becomes = f"{others} indicator{'s'[: others != 1]}" if others else "a constant, left out"
        if name in classes:
            becomes, missing = "target, of classes", _without_target(data, section)
        found.append(Column(name, becomes, "categorical", missing, len(rows), most, share))
    return found


def _without_target(data: Dataset, section: TableData) -> float | None:
    """The share of rows that were dropped because they have none, if that alone drops rows."""
    dropped = data.summary.dropped
    counted = section.missing == "impute" and not section.weight
    return dropped / (data.summary.rows + dropped) if counted else _missing(section)


def _missing(section: TableData) -> float | None:
    """The share of holes in a column without an indicator for them."""
    return None if section.missing == "drop" else 0.0
