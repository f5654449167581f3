"""A comparison on the terminal, in any width, and in a pipe."""

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from tasks.compare import tables
from tasks.compare.comparison import Comparison
from tasks.compare.tables import Cell, Table

GAP = 2  # between columns: one of padding, one of the rule


def show(compared: Comparison, console: Console | None = None) -> None:
    """Print a comparison. What does not fit beside goes below; nothing is cut."""
    console = console or Console(highlight=False, emoji=False, markup=False)
    console.print(tables.title(compared), style="bold")
    _print(tables.runs_table(compared), console)
    for ending in tables.endings(compared):
        console.print(ending, style="red")
    for warning in compared.warnings:
        console.print(f"Warning: {warning}", style="yellow")
    if verdict := tables.verdict(compared):
        console.print(verdict, style="green")
    for table in tables.tables(compared):
        console.print(f"\n{table.heading}", style="bold")
        _print(table, console)
    if same := tables.same(compared):
        console.print(same, style="dim")


def _print(table: Table, console: Console) -> None:
    """One table, or as many as the width asks for if a column stands for a run."""
    for places in _fitting(table, console.width):
        shown = RichTable(
            box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, GAP - 1, 0, 0)
        )
        for heading in ("", *(table.columns[place] for place in places)):
            shown.add_column(heading, overflow="fold")
        for name, cells in table.rows:
            shown.add_row(Text(name), *(_text(cells[place]) for place in places))
        console.print(shown)


def _text(cell: Cell) -> Text:
    text = Text(cell.text, "bold green" if cell.best else "")
    return text.append(f"\n{cell.note}", "dim") if cell.note else text


def _fitting(table: Table, width: int) -> Iterator[list[int]]:
    """Columns in groups that each fit into the width; one that is wider stands alone."""
    if not table.a_column_a_run:
        yield list(range(len(table.columns)))
        return
    space = width - max(len(name) for name, _ in table.rows)
    group, left = [], space
    for place in range(len(table.columns)):
        needed = GAP + max(len(c) for _, cells in table.rows for c in cells[place][:2])
        if group and needed > left:
            yield group
            group, left = [], space
        group.append(place)
        left -= needed
    yield group
