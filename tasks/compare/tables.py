"""A comparison in words and tables, the same on the terminal and in the report."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from os.path import commonprefix
from typing import NamedTuple

import pandas as pd

from tasks.compare.comparison import Comparison, Effect, numbers

LONGEST = 40  # characters of a parameter's value
KEPT = 8  # characters before the place where long values part
MISSING = "-"


class Cell(NamedTuple):
    """A value as text, a note below it, and whether it is the best of its row."""

    text: str
    note: str = ""
    best: bool = False


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        heading: what it shows; empty for the runs themselves.
        columns: their headings; the rows' names have none.
        rows: each with its name and a cell for each column.
        a_column_a_run: whether the columns are runs, so that any of them may stand alone.
    """

    heading: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    a_column_a_run: bool = False


def title(compared: Comparison) -> str:
    """How many runs of what."""
    runs = compared.runs
    experiments = " and ".join(f"'{name}'" for name in dict.fromkeys(r.experiment for r in runs))
    if len(runs) == 1:
        return f"Experiment {experiments}: one run, so there is nothing to compare it with"
    return f"Experiment {experiments}: {len(runs)} runs, differences from run 1"


def runs_table(compared: Comparison) -> Table:
    """The runs, each with its number, id, start and status."""
    rows = tuple(
        (str(number), _cells(run.name, run.id[:8], f"{run.started:%Y-%m-%d %H:%M}", run.status))
        for number, run in enumerate(compared.runs, 1)
    )
    return Table("", ("Run", "Id", "Started", "Status"), rows)


def endings(compared: Comparison) -> list[str]:
    """Why runs did not end as FINISHED."""
    numbered = enumerate(compared.runs, 1)
    return [f"Run {number} {run.status}: {run.reason}" for number, run in numbered if run.reason]


def tables(compared: Comparison) -> Iterator[Table]:
    """What the parameters go with, the parameters and the metrics that differ; none is empty."""
    if compared.effects:
        heading = f"Best {compared.headline} reached with a value of each parameter"
        columns = ("Best with", "reached", "Worst with", "reached")
        yield Table(heading, columns, tuple(map(_effect_row, compared.effects)))
    columns = tuple(str(i) for i in range(1, len(compared.runs) + 1))
    if len(compared.params):
        rows = tuple((name, _cells(*written(row))) for name, row in compared.params.iterrows())
        yield Table("Parameters that differ (-: not recorded)", columns, rows, True)
    if len(compared.metrics):
        rows = tuple((name, _metric_cells(compared, name)) for name in compared.metrics.index)
        yield Table("Metrics that differ (*: best)", columns, rows, True)


def _cells(*texts: str) -> tuple[Cell, ...]:
    return tuple(map(Cell, texts))


def _effect_row(effect: Effect) -> tuple[str, tuple[Cell, ...]]:
    good, bad = shortened((effect.good_value, effect.bad_value))
    return effect.param, _cells(good, number(effect.good), bad, number(effect.bad))


def _metric_cells(compared: Comparison, name: str) -> tuple[Cell, ...]:
    """The value, marked if it is the best, and below it the difference from the first."""
    row, best = compared.metrics.loc[name], compared.best.loc[name]
    return tuple(
        Cell(number(value) + (" *" if best[i] else ""), _change(row, i), bool(best[i]))
        for i, value in row.items()
    )


def verdict(compared: Comparison) -> str:
    """Which run is best by the headline, and what sets it apart from the first; may be empty."""
    name = compared.headline
    if name is None:
        return ""
    row, best = compared.metrics.loc[name], compared.best.loc[name]
    winners = list(best[best].index)
    first = winners[0]
    told = f"Best {name}: {numbers(winners)} with {number(row[first])}"
    if first == 1:
        return f"{told}."
    params = compared.params
    other = params[params[first].ne(params[1])] if len(params) else params
    values = [f"{param}={written(values)[first - 1]}" for param, values in other.iterrows()]
    change = _change(row, first)
    told += f" ({change} from run 1)" if change else ""
    return f"{told}; different from run 1: {', '.join(values) or 'no parameter'}."


def same(compared: Comparison) -> str:
    """The metrics that do not differ, in one sentence; may be empty."""
    if compared.same.empty or len(compared.runs) == 1:
        return ""
    told = ", ".join(f"{name} {number(value)}" for name, value in compared.same.items())
    return f"The same in all that have them: {told}"


def number(value: float | None) -> str:
    """Four significant digits; whole numbers in full."""
    if pd.isna(value):
        return MISSING
    if float(value).is_integer() and abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _change(row: pd.Series, place: int) -> str:
    """The difference from the first run with its sign; empty if there is none to tell."""
    change = row[place] - row[1]
    if place == 1 or pd.isna(change):
        return ""
    return "±0" if change == 0 else f"{'+' if change > 0 else ''}{number(change)}"


def written(values: pd.Series) -> list[str]:
    """A parameter's values; `-` if one is not recorded."""
    known = list(values.dropna())
    short = dict(zip(known, shortened(known), strict=True))
    return [MISSING if pd.isna(value) else short[value] for value in values]


def shortened(values: Sequence[str]) -> list[str]:
    """Values of readable length; long ones keep the place where they part from each other."""
    if max(map(len, values), default=0) <= LONGEST:
        return list(values)
    shared = commonprefix(sorted(set(values)))  # noqa: RUF071 (by characters, as wanted)
    start = max(0, len(shared) - KEPT)
    tails = [("…" if start else "") + value[start:] for value in values]
    short = [t if len(t) <= LONGEST else t[: LONGEST - 1] + "…" for t in tails]
    if len(set(short)) == len(set(values)):
        return short
    digests = [sha256(value.encode()).hexdigest()[:6] for value in values]
    return [f"{text} #{digest}" for text, digest in zip(short, digests, strict=True)]
