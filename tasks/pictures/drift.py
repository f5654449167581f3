"""The pictures of how today's data differs from the champion's."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tasks.pictures.columns import MOST_SHOWN, draw_ranked, short
from tasks.pictures.style import BLUE, GREY, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_INDICES = 3  # in a title


def draw_drift(found: dict, folder: Path) -> None:
    """Draw the shifts of means, the shares of levels and holes, and the predictions, from
    `shown_drift`."""
    if found["shifts"]:
        rows = sorted(found["shifts"], key=lambda row: -abs(row[1]))
        words = {
            "title": "Means since the champion was trained",
            "xlabel": "(mean now - mean then) / standard deviation then",
        }
        draw_ranked(folder / "drift.png", [(*row, 0.0) for row in rows], words)
    if found["shares"]:
        _draw_shares(folder / "drift_shares.png", found)
    if found["predictions"]:
        save(
            folder / "drift_predictions.png",
            lambda axes: _predictions(axes, **found["predictions"]),
        )


def _draw_shares(path: Path, found: dict) -> None:
    """A line for each level and each column with holes: the share then and now."""
    rows = sorted(found["shares"], key=lambda row: -abs(row[2] - row[1]))
    names, then, now = zip(*rows[:MOST_SHOWN], strict=True)
    indices = sorted(found["stability"].items(), key=lambda item: -item[1])[:MOST_INDICES]
    listed = ", ".join(f"{short(name)} {index:.2g}" for name, index in indices)
    left_out = (
        f" ({len(rows) - len(names)} that moved less left out)" if len(rows) > MOST_SHOWN else ""
    )

    def plot(axes: "Axes") -> None:
        lines = range(len(names))
        axes.hlines(lines, then, now, color=GREY, linewidth=1)
        axes.scatter(then, lines, color=GREY, label="then")
        axes.scatter(now, lines, color=BLUE, label="now")
        axes.set_yticks(lines, [short(each) for each in names])
        axes.set_ylim(len(lines) - 0.5, -0.5)
        axes.legend(frameon=False)
        axes.figure.suptitle(f"Shares of rows since the champion was trained{left_out}")
        axes.figure.supxlabel(f"share; stability index: {listed}", fontsize="medium")

    save(path, plot, height=1.2 + 0.25 * max(6, len(names)))


def _predictions(
    axes: "Axes", edges: list[float], then: dict[str, float], now: dict[str, float], index: float
) -> None:
    """Two bars for each tenth of the champion's predictions, or for each class."""
    if edges:
        groups = [str(place) for place in range(len(edges) + 1)]
        names = [f"below {edges[0]:.4g}", *(f"from {edge:.4g}" for edge in edges)]
    else:
        names = groups = sorted(then.keys() | now.keys())
    places = np.arange(len(groups))
    for offset, shares, color, label in ((-0.2, then, GREY, "then"), (0.2, now, BLUE, "now")):
        heights = [shares.get(group, 0.0) for group in groups]
        axes.bar(places + offset, heights, 0.4, color=color, label=label)
    axes.set_xticks(places, [short(each) for each in names], rotation=30 if len(names) > 4 else 0)
    axes.set(
        xlabel="prediction", ylabel="share of rows",
        title=f"The champion's predictions then, the new model's now: stability index {index:.2g}",
    )  # fmt: skip
    axes.legend(frameon=False)
