"""One look for every picture."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GREY = "#1f5a94", "#d9822b", "#3f8f5b", "#8a8a8a"


def figure_of(plot: Callable[..., None], height: float = 4.5, panels: int = 1) -> "Figure":
    """One picture in the house's style, so many inches high: no frame, a light grid.

    `plot` is called with the axes of each panel, which stand one below the other and share x.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, height), dpi=110, layout="constrained")
    found = figure.subplots(panels, sharex=True, squeeze=False)[:, 0]
    for axes in found:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    plot(*found)
    return figure


def save(path: Path, plot: Callable[..., None], height: float = 4.5, panels: int = 1) -> None:
    """Write one picture."""
    figure_of(plot, height, panels).savefig(path)
