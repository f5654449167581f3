"""One look for every picture."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GREY = "#1f5a94", "#d9822b", "#3f8f5b", "#8a8a8a"


def figure_of(plot: Callable[["Axes"], None], height: float = 4.5) -> "Figure":
    """One plot in the house's style, so many inches high: no frame, a light grid."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, height), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    plot(axes)
    return figure


def save(path: Path, plot: Callable[["Axes"], None], height: float = 4.5) -> None:
    """Write one picture."""
    figure_of(plot, height).savefig(path)
