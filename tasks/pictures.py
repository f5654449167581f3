"""The pictures of a run, drawn by a process of their own while the model is logged.

`python -m tasks.pictures FOLDER` reads what to draw as JSON from its standard input. It imports
matplotlib and nothing slow besides, and the run's own process never imports matplotlib.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#1f5a94", "#d9822b", "#8a8a8a"
MOST_POINTS = 2_000
ROOT = Path(__file__).resolve().parent.parent


def drawing(what: dict, folder: Path) -> AbstractContextManager[None]:
    """Write loss.png, fit.png and residuals.png beside the body; they are there when it ends.

    Args:
        what: plain values: `losses` (one an epoch), `optimum` (the exact one), `names` of the
            features, `target`, `intercept`, `weights`, `rows` (m x (d + 1): features, target) and
            `told`, which rows they are.
        folder: where to write.
    """
    shown = thinned(len(what["losses"]))
    points = {"epochs": (shown + 1).tolist(), "losses": [what["losses"][i] for i in shown]}
    return draw_beside("tasks.pictures", {**what, **points}, folder)


def thinned(points: int) -> np.ndarray:
    """The places of at most 2,000 of so many points, evenly spread, the first and last included."""
    return np.unique(np.linspace(0, points - 1, MOST_POINTS).round().astype(int))


@contextmanager
def draw_beside(module: str, what: dict, folder: Path) -> Iterator[None]:
    """Run `python -m MODULE FOLDER` beside the body, with what to draw as JSON on its input.

    It is ended if the body fails.

    Raises:
        RuntimeError: the pictures could not be drawn.
    """
    command = [sys.executable, "-m", module, str(folder)]
    with Popen(command, cwd=ROOT, stdin=PIPE, stderr=PIPE, text=True) as process:
        try:
            process.stdin.write(json.dumps(what))
            process.stdin.close()
            process.stdin = None
            yield
        except BaseException:
            process.kill()
            raise
        _, said = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the pictures could not be drawn: {said.strip()[-500:]}")


def draw(what: dict, folder: Path) -> None:
    """Draw what `drawing` describes."""
    rows = np.array(what["rows"])
    x, y = rows[:, :-1], rows[:, -1]
    predicted = what["intercept"] + x @ np.array(what["weights"])
    target, told = what["target"], what["told"]
    save(folder / "loss.png", lambda axes: _loss(axes, what))
    if len(what["names"]) == 1:
        save(folder / "fit.png", lambda axes: _line(axes, x[:, 0], y, what))
    else:
        save(folder / "fit.png", lambda axes: _agreement(axes, y, predicted, target, told))
    save(folder / "residuals.png", lambda axes: _residuals(axes, y, predicted, target, told))


def figure_of(plot: Callable[["Axes"], None]) -> "Figure":
    """One plot in the house's style: no frame, a light grid."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), dpi=110)
    axes = figure.add_axes((0.13, 0.13, 0.83, 0.78))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    plot(axes)
    return figure


def save(path: Path, plot: Callable[["Axes"], None]) -> None:
    """Write one picture."""
    figure_of(plot).savefig(path)


def _loss(axes: "Axes", what: dict) -> None:
    epochs, losses, optimum = what["epochs"], what["losses"], what["optimum"]
    axes.plot(
        epochs, losses, color=BLUE, marker="." if len(epochs) < 20 else None, label="training loss"
    )
    if optimum > 0:
        axes.axhline(optimum, color=ORANGE, linestyle="--", label=f"exact optimum {optimum:.4g}")
    if min(losses) > 0:
        axes.set_yscale("log")
    axes.set(xlabel="epoch", ylabel="loss (before the epoch's step)", title="Loss")
    axes.legend(frameon=False)


def _line(axes: "Axes", x: np.ndarray, y: np.ndarray, what: dict) -> None:
    name, target = what["names"][0], what["target"]
    intercept, slope = what["intercept"], what["weights"][0]
    axes.scatter(x, y, color=BLUE, s=18, alpha=0.7, label=what["told"])
    ends = np.array([x.min(), x.max()])
    line = f"{target} = {intercept:.4g} + {slope:.4g} · {name}"
    axes.plot(ends, intercept + slope * ends, color=ORANGE, label=line)
    axes.set(xlabel=name, ylabel=target, title="Fit")
    axes.legend(frameon=False)


def _agreement(axes: "Axes", y: np.ndarray, predicted: np.ndarray, target: str, told: str) -> None:
    axes.scatter(predicted, y, color=BLUE, s=12, alpha=0.5, label=told)
    low, high = min(y.min(), predicted.min()), max(y.max(), predicted.max())
    axes.plot([low, high], [low, high], color=ORANGE, label="actual = predicted")
    axes.set(
        xlabel=f"predicted {target}", ylabel=f"actual {target}", title="Predicted against actual"
    )
    axes.legend(frameon=False)


def _residuals(axes: "Axes", y: np.ndarray, predicted: np.ndarray, target: str, told: str) -> None:
    axes.scatter(predicted, y - predicted, color=BLUE, s=14, alpha=0.6)
    axes.axhline(0, color=GREY, linewidth=1)
    axes.set(xlabel=f"predicted {target}", ylabel=f"actual - predicted {target}")
    axes.set_title(f"Residuals of {told}")


if __name__ == "__main__":
    draw(json.load(sys.stdin), Path(sys.argv[1]))
