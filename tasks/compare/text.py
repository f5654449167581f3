"""A comparison as text and tables, for the report and for a terminal of any width."""

from collections.abc import Iterator
from hashlib import sha256
from os.path import commonprefix

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tasks.compare.comparison import Comparison, numbers
from tasks.pictures.style import cut

LONGEST = 40  # characters of a parameter's value
KEPT = 8  # characters before the first one at which long values differ
MISSING, BEST = "-", " *"
GAP = 2  # characters between columns: padding and rule


def title(compared: Comparison) -> str:
    """The heading: the experiments and the number of runs."""
    runs = compared.runs
    experiments = " and ".join(f"'{name}'" for name in dict.fromkeys(r.experiment for r in runs))
    if len(runs) == 1:
        return f"Experiment {experiments}: one run, so there is nothing to compare it with"
    return f"Experiment {experiments}: {len(runs)} runs, differences from run 1"


def runs_table(compared: Comparison) -> pd.DataFrame:
    """A row for each run: name, id, start and status."""
    cells = [
        (run.name, run.id[:8], f"{run.started:%Y-%m-%d %H:%M}", run.status) for run in compared.runs
    ]
    return pd.DataFrame(cells, compared.params.columns, ["Run", "Id", "Started", "Status"])


def endings(compared: Comparison) -> list[str]:
    """A line for each run that did not finish, with the reason."""
    numbered = enumerate(compared.runs, 1)
    return [f"Run {number} {run.status}: {run.reason}" for number, run in numbered if run.reason]


def tables(compared: Comparison) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield a heading and the cells of each table that is not empty.

    They are the best and worst headline for each parameter, the parameters that differ, and the
    metrics that differ. A metric's cell holds its value, marked if it is the best, and on a second
    line the difference from the first run.
    """
    if len(compared.effects):
        values = compared.effects[["good_value", "bad_value"]].apply(shortened, axis=1)
        reached = compared.effects[["good", "bad"]].map(number)
        cells = pd.concat([values, reached], axis=1)[compared.effects.columns]
        cells.columns = ["Best with", "reached", "Worst with", "reached"]
        yield f"Best {compared.headline} reached with a value of each parameter", cells
    if len(compared.params):
        cells = compared.params.apply(shortened, axis=1)
        yield "Parameters that differ (-: the run has none)", cells
    if len(compared.metrics):
        changes = compared.metrics.sub(compared.metrics[1], axis=0).map(change)
        changes[1] = ""
        values = compared.metrics.map(number).mask(compared.best, lambda best: best + BEST)
        yield "Metrics that differ (*: best)", values + changes.mask(changes != "", "\n" + changes)


def verdict(compared: Comparison) -> str:
    """A sentence that says which run is best and how it differs from the first; may be empty."""
    name = compared.headline
    if name is None:
        return ""
    row = compared.metrics.loc[name]
    winners = list(row[compared.best.loc[name]].index)
    first = winners[0]
    message = f"Best {name}: {numbers(winners)} with {number(row[first])}"
    if first == 1:
        return f"{message}."
    if difference := change(row[first] - row[1]):
        message += f" ({difference} from run 1)"
    params = compared.params.apply(shortened, axis=1)
    other = params[first][~params[first].isin([MISSING]) & (params[first] != params[1])]
    listed = ", ".join(f"{param}={value}" for param, value in other.items())
    return f"{message}; different from run 1: {listed or 'no parameter'}."


def same(compared: Comparison) -> str:
    """A sentence with the metrics that do not differ; may be empty."""
    if compared.same.empty or len(compared.runs) == 1:
        return ""
    listed = ", ".join(f"{name} {number(value)}" for name, value in compared.same.items())
    return f"The same in all runs that have them: {listed}"


def number(value: float | None) -> str:
    """A number with four significant digits; whole numbers in full."""
    if pd.isna(value):
        return MISSING
    if float(value).is_integer() and abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def change(value: float) -> str:
    """A difference with its sign; empty if unknown."""
    if pd.isna(value):
        return ""
    return "±0" if value == 0 else f"{'+' if value > 0 else ''}{number(value)}"


def shortened(values: pd.Series) -> pd.Series:
    """A parameter's values, shortened to a readable length; `-` for a run without the parameter.

    Shortened values show the place from which they differ.
    """
    known = short = values.dropna().unique().tolist()
    if max(map(len, known), default=0) > LONGEST:
        start = max(0, len(commonprefix(known)) - KEPT)  # noqa: RUF071 (by characters, as wanted)
        short = [cut(("…" if start else "") + value[start:], LONGEST) for value in known]
        if len(set(short)) < len(known):
            digests = [sha256(value.encode()).hexdigest()[:6] for value in known]
            short = [f"{text} #{digest}" for text, digest in zip(short, digests, strict=True)]
    return values.map(dict(zip(known, short, strict=True))).fillna(MISSING)


def show(compared: Comparison, console: Console | None = None) -> None:
    """Print a comparison; columns that do not fit beside each other go below, so none is cut."""
    console = console or Console(highlight=False, emoji=False, markup=False)
    console.print(title(compared), style="bold")
    _print(runs_table(compared), console)
    for ending in endings(compared):
        console.print(ending, style="red")
    for warning in compared.warnings:
        console.print(f"Warning: {warning}", style="yellow")
    if best := verdict(compared):
        console.print(best, style="green")
    for heading, cells in tables(compared):
        console.print(f"\n{heading}", style="bold")
        _print(cells, console)
    if equal := same(compared):
        console.print(equal, style="dim")


def _print(cells: pd.DataFrame, console: Console) -> None:
    """Print a table; if its columns are runs, split it into as many as the width requires."""
    side_by_side = cells.shape[1]
    if 1 in cells.columns:
        widest = max(len(line) for row in cells.to_numpy() for c in row for line in c.split("\n"))
        space = console.width - max(map(len, cells.index))
        side_by_side = max(1, space // (widest + GAP))
    for start in range(0, cells.shape[1], side_by_side):
        shown = Table(
            box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, GAP - 1, 0, 0)
        )
        part = cells.iloc[:, start : start + side_by_side]
        for heading in ("", *part.columns):
            shown.add_column(str(heading), overflow="fold")
        for row in part.itertuples():
            shown.add_row(*map(_text, row))
        console.print(shown)


def _text(cell: object) -> Text:
    value, line_break, difference = str(cell).partition("\n")
    style = "bold green" if value.endswith(BEST) else ""
    return Text(value, style).append(line_break + difference, "dim")
