"""A comparison on the terminal, in any width, and in a pipe."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tasks.comparison import wording
from tasks.comparison.differences import Comparison
from tasks.comparison.metrics import Metric

GAP = 2  # between columns: one of padding, one of the rule
BEST = " *"
Row = tuple[str, list[Text]]


def show(compared: Comparison, console: Console | None = None) -> None:
    """Print a comparison. What does not fit beside goes below; nothing is cut."""
    console = console or Console(highlight=False, emoji=False, markup=False)
    console.print(wording.title(compared), style="bold")
    _runs(compared, console)
    for warning in compared.warnings:
        console.print(f"Warning: {warning}", style="yellow")
    if told := wording.verdict(compared):
        console.print(told, style="green")
    if compared.effects:
        _effects(compared, console)
    params = [(row.name, list(map(Text, wording.written(row)))) for row in compared.params]
    _side_by_side("Parameters that differ (-: not recorded)", params, console)
    metrics = [(row.name, _metric_cells(row)) for row in compared.metrics]
    _side_by_side("Metrics that differ (*: best)", metrics, console)
    if told := wording.same(compared):
        console.print(told, style="dim")


def _runs(compared: Comparison, console: Console) -> None:
    table = _table("", "Run", "Id", "Started", "Status")
    for place, run in enumerate(compared.runs, start=1):
        started = f"{run.started:%Y-%m-%d %H:%M}"
        cells = (str(place), run.name, run.id[: wording.SHORT_ID], started, run.status)
        table.add_row(*map(Text, cells))
    console.print(table)
    for place, run in enumerate(compared.runs, start=1):
        if run.reason:
            console.print(f"Run {place} {wording.ended(run)}", style="red")


def _effects(compared: Comparison, console: Console) -> None:
    console.print(f"\n{wording.effect_title(compared)}", style="bold")
    table = _table("", "best with", "", "worst with", "")
    for effect in compared.effects:
        table.add_row(*map(Text, wording.effect_cells(effect)))
    console.print(table)


def _metric_cells(row: Metric) -> list[Text]:
    """The value, marked where it is the best, and below it the difference from the first."""
    cells = []
    for place, value in enumerate(row.values):
        best = place in row.best
        told = Text(wording.number(value) + (BEST if best else ""), "bold green" if best else "")
        if change := wording.change_of(row, place):
            told.append(f"\n{change}", "dim")
        cells.append(told)
    return cells


def _side_by_side(heading: str, rows: Sequence[Row], console: Console) -> None:
    """A column for each run; as many tables as the width asks for."""
    if not rows:
        return
    console.print(f"\n{heading}", style="bold")
    widths = [max(_width(cells[i]) for _, cells in rows) for i in range(len(rows[0][1]))]
    names = max(len(name) for name, _ in rows)
    for places in _fitting(widths, console.width - names):
        table = _table("", *(str(place + 1) for place in places))
        for name, cells in rows:
            table.add_row(Text(name), *(cells[place] for place in places))
        console.print(table)


def _fitting(widths: Sequence[int], space: int) -> list[list[int]]:
    """Columns in groups that each fit into a space; one that is wider stands alone."""
    groups: list[list[int]] = []
    left = 0
    for place, width in enumerate(widths):
        if not groups or width + GAP > left:
            groups.append([])
            left = space
        groups[-1].append(place)
        left -= width + GAP
    return groups


def _width(cell: Text) -> int:
    return max(len(line) for line in cell.plain.split("\n"))


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, GAP - 1, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
