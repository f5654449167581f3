"""The pictures of a model's columns, one a line: what each is worth."""

from pathlib import Path
from typing import TYPE_CHECKING

from tasks.pictures.style import BLUE, GREY, ORANGE, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_SHOWN, LONGEST_NAME = 30, 40


def draw_importance(found: dict, folder: Path) -> None:
    """Draw how much the score rises if a column is permuted, from an Importance as a dict."""
    rows = [(name, each["mean"], each["std"]) for name, each in found["columns"].items()]
    metric, score = found["metric"], found["score"]
    words = {
        "title": f"Permutation importance on {found['rows']:,} held-out rows",
        "xlabel": f"rise of {metric} (from {score:.4g}) if the column is permuted: "
        f"mean ± deviation of {found['repeats']}",
    }
    draw_ranked(folder / "importance.png", rows, words)


def draw_ranked(path: Path, rows: list[tuple[str, float, float]], words: dict[str, str]) -> None:
    """Draw a point with an error bar for each (name, value, error), the first 30 from the top."""
    names, values, errors = zip(*rows[:MOST_SHOWN], strict=True)
    short = [n if len(n) <= LONGEST_NAME else f"{n[: LONGEST_NAME - 1]}…" for n in names]
    lines = range(len(names))

    def plot(axes: "Axes") -> None:
        axes.axvline(0, color=GREY, linewidth=1)
        axes.errorbar(values, lines, xerr=errors, fmt="o", color=BLUE, ecolor=ORANGE, capsize=3)
        axes.set_yticks(lines, short)
        axes.set_ylim(len(lines) - 0.5, -0.5)
        axes.set(**words)
        if left_out := len(rows) - len(names):
            axes.set_title(f"{words['title']} ({left_out} smaller ones left out)")

    save(path, plot, height=1.2 + 0.25 * max(6, len(names)))
