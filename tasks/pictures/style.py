"""One look for every picture."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GREY = "#1f5a94", "#d9822b", "#3f8f5b", "#8a8a8a"
MOST_POINTS = 2_000  # of a curve


def figure_of(plot: Callable[..., None], height: float = 4.5, panels: int = 1) -> "Figure":
    """One picture in the project's style, `height` inches high: no frame, a light grid.

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


def thinned(points: int) -> np.ndarray:
    """The places of at most 2,000 of these points, evenly spread, with the first and the last."""
    return np.unique(np.linspace(0, points - 1, MOST_POINTS).round().astype(int))
