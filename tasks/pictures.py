"""The pictures of a run or a sweep, drawn by a process of their own while the model is logged.

`python -m tasks.pictures FOLDER` reads what to draw as JSON from its standard input. It imports
matplotlib and nothing slow besides, and the run's own process never imports matplotlib.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GREY = "#1f5a94", "#d9822b", "#3f8f5b", "#8a8a8a"
CURVES = ("losses", "validation_losses")
MOST_POINTS = 2_000
MANY_TIMES = 50  # between the least and the largest value: then the axis is logarithmic
ROOT = Path(__file__).resolve().parent.parent


def drawing(what: dict, folder: Path) -> AbstractContextManager[None]:
    """Write loss.png, fit.png and residuals.png beside the body; they are there when it ends.

    Args:
        what: plain values: `losses` (one an epoch); `validation_losses`, as many or none;
            `best_epoch`, whose weights were kept, or None; `optimum`, the exact loss, or None;
            `unconverged`; `target`; `actual` and `predicted` values of some rows; `told`, which
            rows they are; `fit`: None, or of a model of one feature its `name`, `x` (of the rows),
            the curve's `along` and `height`, and `told`, what the curve is called.
        folder: where to write.
    """
    shown = thinned(len(what["losses"]))
    points = {key: [what[key][i] for i in shown if what[key]] for key in CURVES}
    best = what["best_epoch"]
    point = best and [best, what["validation_losses"][best - 1]]
    told = {**what, **points, "epochs": (shown + 1).tolist(), "best": point}
    return draw_beside({"kind": "run", **told}, folder)


def drawing_sweep(what: dict, folder: Path) -> AbstractContextManager[None]:
    """Write KEY.png for each parameter that varied beside the body.

    Args:
        what: plain values: `metric`; `reached`, its value of each trial; `best`, the place of the
            best one; `values`, by key the value of each trial.
        folder: where to write.
    """
    return draw_beside({"kind": "sweep", **what}, folder)


def thinned(points: int) -> np.ndarray:
    """The places of at most 2,000 of these points, evenly spread, with the first and the last."""
    return np.unique(np.linspace(0, points - 1, MOST_POINTS).round().astype(int))


@contextmanager
def draw_beside(what: dict, folder: Path) -> Iterator[None]:
    """Run this module beside the body, with what to draw as JSON on its input.

    It is ended if the body fails.

    Raises:
        RuntimeError: the pictures could not be drawn.
    """
    command = [sys.executable, "-m", "tasks.pictures", str(folder)]
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


def draw_run(what: dict, folder: Path) -> None:
    """Draw what `drawing` describes."""
    y, predicted = np.array(what["actual"]), np.array(what["predicted"])
    target, told = what["target"], what["told"]
    save(folder / "loss.png", lambda axes: _loss(axes, what))
    if what["fit"]:
        save(folder / "fit.png", lambda axes: _fit(axes, y, what["fit"], target, told))
    else:
        save(folder / "fit.png", lambda axes: _agreement(axes, y, predicted, target, told))
    save(folder / "residuals.png", lambda axes: _residuals(axes, y, predicted, target, told))


def draw_sweep(what: dict, folder: Path) -> None:
    """Draw what `drawing_sweep` describes."""
    for key, values in what["values"].items():
        save(folder / f"{key}.png", lambda axes, k=key, v=values: _trials(axes, k, v, what))


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
    epochs, losses, validation = what["epochs"], what["losses"], what["validation_losses"]
    style = {"marker": "." if len(epochs) < 20 else None}
    axes.plot(epochs, losses, color=BLUE, label="training loss", **style)
    if validation:
        axes.plot(epochs, validation, color=GREEN, label="validation loss", **style)
    if what["best"]:
        epoch, loss = what["best"]
        axes.scatter(epoch, loss, color=ORANGE, s=50, zorder=3, label=f"kept: epoch {epoch}")
    _scale(axes, [*losses, *validation], what["optimum"])
    title = "Loss (far from the exact optimum)" if what["unconverged"] else "Loss"
    axes.set(xlabel="epoch", ylabel="loss", title=title)
    axes.legend(frameon=False)


def _scale(axes: "Axes", losses: list[float], optimum: float | None) -> None:
    """A logarithmic axis, without the decades in which there is rounding alone; the optimum."""
    floor = np.finfo(float).eps * losses[0]
    if optimum is not None and optimum > floor:
        axes.axhline(optimum, color=ORANGE, linestyle="--", label=f"exact optimum {optimum:.4g}")
    if floor > 0:
        axes.set_yscale("log")
    if min(losses) < floor:
        axes.set_ylim(bottom=floor)
        told = "cut at 2e-16 of the first loss: below that it is rounding"
        axes.annotate(told, (0.01, 0.02), xycoords="axes fraction", color=GREY, fontsize=8)


def _fit(axes: "Axes", y: np.ndarray, fit: dict, target: str, told: str) -> None:
    axes.scatter(fit["x"], y, color=BLUE, s=18, alpha=0.7, label=told)
    axes.plot(fit["along"], fit["height"], color=ORANGE, label=fit["told"])
    axes.set(xlabel=fit["name"], ylabel=target, title="Fit")
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


def _trials(axes: "Axes", key: str, values: list[Any], what: dict) -> None:
    reached, best = what["reached"], what["best"]
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    if not numbers:
        words = [v if isinstance(v, str) else json.dumps(v) for v in values]
        levels = list(dict.fromkeys(words))
        values = [levels.index(word) for word in words]
        axes.set_xticks(range(len(levels)), levels)
        axes.set_xlim(-0.5, len(levels) - 0.5)
    elif _wide(values):
        axes.set_xscale("log")
    if _wide(reached):
        axes.set_yscale("log")
    axes.scatter(values, reached, color=BLUE, s=22, alpha=0.7, label="a trial")
    axes.scatter(values[best], reached[best], color=ORANGE, s=70, label="the best", zorder=3)
    axes.set(xlabel=key, ylabel=what["metric"], title=f"{what['metric']} against {key}")
    axes.legend(frameon=False)


def _wide(values: list[float]) -> bool:
    return min(values) > 0 and max(values) > MANY_TIMES * min(values)


if __name__ == "__main__":
    given = json.load(sys.stdin)
    draw = {"run": draw_run, "sweep": draw_sweep}[given["kind"]]
    draw(given, Path(sys.argv[1]))
