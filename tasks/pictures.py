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
MOST_CLASSES, MOST_NAMED = 10, 15  # with a curve; with a name and numbers in the matrix
ROC_WORDS = {
    "title": "ROC",
    "xlabel": "share of the other rows that is taken for the class",
    "ylabel": "share of the class that is found",
}
BINS = {"title": "Calibration", "xlabel": "predicted probability", "ylabel": "share of the class"}
MANY_TIMES = 50  # between the least and the largest value: then the axis is logarithmic
ROOT = Path(__file__).resolve().parent.parent


def drawing(what: dict, folder: Path) -> AbstractContextManager[None]:
    """Write loss.png, fit.png and residuals.png beside the body, of classes loss.png,
    confusion.png, roc.png and calibration.png; they are there when it ends.

    Args:
        what: plain values: `losses` (one an epoch); `validation_losses`, as many or none;
            `best_epoch`, whose weights were kept, or None; `optimum`, the exact loss, or None;
            `unconverged`; `target`; `actual` and `predicted` values of some rows; `told`, which
            rows they are; `fit`: None, or of a model of one feature its `name`, `x` (of the rows),
            the curve's `along` and `height`, and `told`, what the curve is called. Of classes, in
            place of `actual`, `predicted` and `fit`: `classes`, their names; `observed`, a place
            among them a row; `probabilities`, of each class a row.
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
    save(folder / "loss.png", lambda axes: _loss(axes, what))
    if "classes" in what:
        draw_classes(what, folder)
        return
    y, predicted = np.array(what["actual"]), np.array(what["predicted"])
    target, told = what["target"], what["told"]
    if what["fit"]:
        save(folder / "fit.png", lambda axes: _fit(axes, y, what["fit"], target, told))
    else:
        save(folder / "fit.png", lambda axes: _agreement(axes, y, predicted, target, told))
    save(folder / "residuals.png", lambda axes: _residuals(axes, y, predicted, target, told))


def draw_classes(what: dict, folder: Path) -> None:
    """Draw the confusion matrix, and the ROC and calibration of the last of two classes, of more
    those of each of the first ten against the rest."""
    names, p, observed = what["classes"], np.array(what["probabilities"]), what["observed"]
    is_class = np.eye(len(names), dtype=bool)[observed]
    shown = [1] if len(names) == 2 else range(min(len(names), MOST_CLASSES))
    curves = [(names[i], p[:, i], is_class[:, i]) for i in shown]
    counts = is_class.T.astype(int) @ np.eye(len(names), dtype=int)[p.argmax(axis=1)]
    target, told = what["target"], what["told"]
    save(folder / "confusion.png", lambda axes: _confusion(axes, counts, names, target, told))
    save(folder / "roc.png", lambda axes: _curves(axes, curves, roc, ROC_WORDS, told))
    save(folder / "calibration.png", lambda axes: _curves(axes, curves, calibration, BINS, told))


def roc(p: np.ndarray, is_class: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The shares of the other rows and of the class's that have at least each probability: (m,)
    each; 0 if there are no such rows."""
    thresholds = np.array([np.inf, *np.unique(p)[::-1]])
    taken = p >= thresholds[:, None]
    others, found = (
        taken[:, rows].sum(axis=1) / max(1, rows.sum()) for rows in (~is_class, is_class)
    )
    return others, found


def calibration(p: np.ndarray, is_class: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean probability and the share of the class in each tenth of [0, 1] that has rows."""
    places = np.minimum((p * 10).astype(int), 9)
    tenths = [places == i for i in np.unique(places)]
    return np.array([p[t].mean() for t in tenths]), np.array([is_class[t].mean() for t in tenths])


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


def _confusion(axes: "Axes", counts: np.ndarray, names: list[str], target: str, told: str) -> None:
    axes.imshow(counts / np.maximum(1, counts.sum(axis=1, keepdims=True)), "Blues", vmin=0, vmax=1)
    axes.grid(visible=False)
    if len(names) <= MOST_NAMED:
        axes.set_xticks(range(len(names)), names, rotation=30 if len(names) > 4 else 0)
        axes.set_yticks(range(len(names)), names)
        for (i, j), count in np.ndenumerate(counts):
            dark = count > counts[i].sum() / 2
            axes.text(j, i, f"{count:,}", ha="center", va="center", color="white" if dark else GREY)
    axes.set(ylabel=f"actual {target}", title=f"Predicted {target}, across: {told}")


def _curves(
    axes: "Axes",
    curves: list[tuple[str, np.ndarray, np.ndarray]],
    points_of: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
    words: dict[str, str],
    told: str,
) -> None:
    """A line for each (name, probabilities, whether a row is of the class)."""
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1)
    for name, p, is_class in curves:
        marker = "." if points_of is calibration else None
        axes.plot(*points_of(p, is_class), marker=marker, label=name)
    axes.set(**words)
    axes.annotate(told, (0.01, 0.02), xycoords="axes fraction", color=GREY, fontsize=8)
    axes.legend(frameon=False)


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
