"""Writes a comparison as one self-contained HTML file, without network access or scripts.

The loss curves are an SVG that suits light and dark pages.
"""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from plumbline.errors import refuse
from tasks.compare import text
from tasks.compare.comparison import Comparison
from tasks.pictures.style import GREY, ORANGE, cut, figure_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curve = Sequence[tuple[int, float]]
# of medium brightness, readable on white and on black
COLOURS = ["#3b7fc4", ORANGE, "#3d8c5a", "#c2517c", "#8a70c0", "#2a9d9d", "#a0792c", GREY]
STYLES = ["-", "--", ":"]  # the next one when the colours are used up
INK = "#010203"  # placeholder for the page's text colour, currentColor in SVG
FEW_POINTS = 20
NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))  # reproducible files
TEMPLATE = "report.html.jinja"
LONGEST_LABEL = 45  # of a curve


def check_writable(path: Path) -> None:
    """Raise InputError if no file can be written there; called before the runs are read."""
    folder = path.parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise refuse("OUT", "a file in a folder that exists and is writable", str(path))


def write_report(compared: Comparison, curves: Sequence[Curve], path: Path) -> None:
    """Write the report.

    Args:
        compared: the runs and their differences.
        curves: (epoch, loss) of each run, in the same order; a run may have none.
        path: the file.
    """
    path.write_text(html(compared, curves), encoding="utf-8")


def html(compared: Comparison, curves: Sequence[Curve]) -> str:
    """The page as HTML, with all recorded text escaped."""
    folder = FileSystemLoader(Path(__file__).parent)
    pages = Environment(loader=folder, autoescape=True, undefined=StrictUndefined)
    pages.trim_blocks = pages.lstrip_blocks = True
    picture = Markup(loss_curves([run.name for run in compared.runs], curves))
    return pages.get_template(TEMPLATE).render(compared=compared, say=text, picture=picture)


def loss_curves(names: Sequence[str], curves: Sequence[Curve]) -> str:
    """An <svg> of every run's loss against the epoch; the axis is logarithmic if any is positive.

    Values that are not finite are left out (MLflow stores infinity as the largest float). Empty if
    no run has a finite loss. matplotlib escapes the names.
    """
    from matplotlib import cycler, rc_context

    known = [[(epoch, loss) for epoch, loss in curve if abs(loss) < 1e308] for curve in curves]
    if not any(known):
        return ""
    coloured = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    style = {**dict.fromkeys(coloured, INK), "svg.fonttype": "none", "svg.hashsalt": "plumbline"}
    cycle = cycler(linestyle=STYLES) * cycler(color=COLOURS)
    with rc_context({**style, "axes.prop_cycle": cycle}):
        figure = figure_of(lambda axes: _draw(axes, names, known))
        written = io.StringIO()
        figure.savefig(written, format="svg", transparent=True, metadata=NO_METADATA)
    svg = written.getvalue()
    return svg[svg.index("<svg") :].replace(INK, "currentColor")


def _draw(axes: "Axes", names: Sequence[str], curves: Sequence[Curve]) -> None:
    for number, (name, curve) in enumerate(zip(names, curves, strict=True), start=1):
        if curve:
            # $ would start a formula
            label = f"{number}  {cut(name, LONGEST_LABEL)}".replace("$", r"\$")
            marker = "." if len(curve) < FEW_POINTS else None
            axes.plot(*zip(*curve, strict=True), marker=marker, label=label)
    if any(loss > 0 for curve in curves for _, loss in curve):
        axes.set_yscale("log", nonpositive="mask")
    axes.set(xlabel="epoch", ylabel="loss (before the epoch's step)")
    axes.legend(frameon=False, fontsize="small")
