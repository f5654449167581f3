"""Tables: on the screen when complete, and as Markdown to paste into the docs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table as Printed

from benchmarks.measure import Ratio


@dataclass(frozen=True)
class Table:
    """One table of results.

    Attributes:
        title: what is compared.
        columns: the heads; the first column is text, the others figures.
        rows: the cells, as text.
        note: how it was measured.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def print(self) -> None:
        """To the terminal."""
        table = Printed(title=self.title, caption=self.note, title_justify="left")
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="right" if number else "left")
        for row in self.rows:
            table.add_row(*row)
        Console().print(table)

    def markdown(self) -> str:
        """As Markdown."""
        rule = ["---", *["---:"] * (len(self.columns) - 1)]
        lines = [f"| {' | '.join(cells)} |" for cells in (self.columns, rule, *self.rows)]
        return "\n".join([f"### {self.title}", "", *lines, "", self.note, ""])


def goal(what: str, found: Ratio, most: float) -> list[str]:
    """A row of a table of goals: what, the ratio found, the goal, whether it is reached."""
    return [what, f"{found} ×", f"≤ {most:g} ×", "reached" if found.median <= most else "missed"]


GOAL_COLUMNS = ("what", "ratio: median (least to largest)", "goal", "")


def write(tables: Sequence[Table], path: Path) -> None:
    """All tables into one Markdown file."""
    path.write_text("\n".join(table.markdown() for table in tables))
