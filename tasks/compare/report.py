"""A comparison as one HTML file that needs nothing else: no network, no script."""

import os
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from plumbline.errors import refuse
from tasks.compare import tables
from tasks.compare.comparison import Comparison
from tasks.compare.curves import Curve, loss_curves

TEMPLATE = "report.html.jinja"
LONGEST_LABEL = 45  # of a curve


def check_writable(path: Path) -> None:
    """Before any work: raises InputError where no file can be written there."""
    folder = path.parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise refuse("OUT", "a file in a folder that is there and can be written to", str(path))


def write_report(compared: Comparison, curves: Sequence[Curve], path: Path) -> None:
    """Write the report; the file appears under its name when it is whole.

    Args:
        compared: the runs and their differences.
        curves: (epoch, loss) of each run, in the same order; a run may have none.
        path: where to.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(html(compared, curves), encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def html(compared: Comparison, curves: Sequence[Curve]) -> str:
    """The page; everything that was recorded is escaped."""
    folder = FileSystemLoader(Path(__file__).parent)
    pages = Environment(loader=folder, autoescape=True, undefined=StrictUndefined)
    pages.trim_blocks = pages.lstrip_blocks = True
    labels = [_label(place, run.name) for place, run in enumerate(compared.runs, start=1)]
    picture = Markup(loss_curves(labels, curves))  # matplotlib escapes the labels
    return pages.get_template(TEMPLATE).render(compared=compared, say=tables, picture=picture)


def _label(number: int, name: str) -> str:
    """A dollar sign would start matplotlib's mathematics."""
    cut = name if len(name) <= LONGEST_LABEL else name[: LONGEST_LABEL - 1] + "…"
    return f"{number}  {cut}".replace("$", r"\$")
