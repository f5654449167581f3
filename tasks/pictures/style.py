"""The style of all plots."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GREY = "#1f5a94", "#d9822b", "#3f8f5b", "#8a8a8a"
MOST_POINTS = 2_000  # of a curve
LONGEST_NAME = 40  # of a column, in a plot


def figure_of(plot: Callable[..., None], height: float = 4.5, panels: int = 1) -> "Figure":
    """A figure in the project's style, `height` inches high: a light grid and no frame.

    `plot` is called with the axes of all panels, which are below one another and share the x axis.
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
    """Draw a figure and write it to a file."""
    figure_of(plot, height, panels).savefig(path)


def cut(text: str, longest: int = LONGEST_NAME) -> str:
    """A text, cut with an ellipsis if it is longer than `longest`."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def thinned(points: int) -> np.ndarray:
    """The indices of at most 2,000 evenly spaced points, including the first and the last."""
    return np.unique(np.linspace(0, points - 1, MOST_POINTS).round().astype(int))
