"""Draws the plots of a run (loss, fit, columns, classes) and of a sweep.

`python -m tasks.pictures.run run|sweep FOLDER` reads the data to plot as JSON from standard input.
This process imports matplotlib but nothing else that is slow; the training process never imports
matplotlib.
"""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from tasks.pictures.classes import draw_classes
from tasks.pictures.columns import draw_coefficients, draw_drift, draw_importance, draw_path
from tasks.pictures.style import BLUE, GREEN, GREY, ORANGE, save

OF_COLUMNS = {
    "importance": draw_importance,
    "coefficients": draw_coefficients,
    "path": draw_path,
    "drift": draw_drift,
}
FEW_EPOCHS = 12  # up to this many, each has a tick
LOG_RATIO = 5  # the axis is logarithmic if the largest loss is more than this times the smallest
LOG_RATIO_OF_SWEEP = 50  # the same for the values that trials reached or varied
MOST_COLOURS = 8  # that are easy to tell apart


def draw_run(what: dict, folder: Path) -> None:
    """Draw loss.png, fit.png and residuals.png, or for classes loss.png, confusion.png, roc.png and
    calibration.png; also the plots of columns for which there is data.

    Args:
        what: plain values. For every model: `epochs` with their `losses` and `validation_losses`
            (as many, or none); `best`, the epoch whose weights were kept and its validation loss,
            or None; `optimum`, the exact loss, or None; `unconverged`, why the model is not at its
            optimum, or ""; `target`, the column's name; `subset`, which rows are plotted.
            For a target of numbers: `actual` and `predicted` values of those rows; `fit`, None or,
            for a single feature, its `name`, its values `x`, and the points `along` and `height` of
            the model's curve with its `label`.
            For classes: `classes`, their names; `observed`, the index of each row's class;
            `probabilities`, a list for each row with one for each class.
            None if there is no such data: `importance`, an Importance as a dict; `coefficients`,
            from `standard_coefficients`; `path`, from `penalty_plot_data`; `drift`, from
            `drift_plot_data`.
        folder: where to write.
    """
    save(folder / "loss.png", partial(_loss, what=what))
    for name, draw in OF_COLUMNS.items():
        if what[name]:
            draw(what[name], folder)
    if "classes" in what:
        draw_classes(what, folder)
        return
    save(folder / "fit.png", partial(_fit if what["fit"] else _agreement, what=what))
    save(folder / "residuals.png", partial(_residuals, what=what))


def _loss(axes: Axes, what: dict) -> None:
    epochs, losses, validation = what["epochs"], what["losses"], what["validation_losses"]
    style = {"marker": "." if len(epochs) < 20 else None}
    axes.plot(epochs, losses, color=BLUE, label="training loss", **style)
    if validation:
        axes.plot(epochs, validation, color=GREEN, label="validation loss", **style)
    if what["best"]:
        epoch, loss = what["best"]
        axes.scatter(epoch, loss, color=ORANGE, s=50, zorder=3, label=f"kept: epoch {epoch}")
    _scale(axes, [*losses, *validation], what["optimum"])
    title = f"Loss ({what['unconverged']})" if what["unconverged"] else "Loss"
    axes.set(xlabel="epoch", ylabel="loss", title=title)
    if len(epochs) <= FEW_EPOCHS:
        axes.set_xticks(epochs)
    axes.legend(frameon=False)


def _scale(axes: Axes, losses: list[float], optimum: float | None) -> None:
    """Draw the optimum; make the axis logarithmic if losses differ much, without the decades that
    hold only rounding errors."""
    floor = np.finfo(float).eps * losses[0]
    if optimum is not None and optimum > floor:
        axes.axhline(optimum, color=ORANGE, linestyle="--", label=f"exact optimum {optimum:.4g}")
    if min(losses) < 0 or max(losses) <= LOG_RATIO * min(losses):
        return
    axes.set_yscale("log")
    if min(losses) < floor:
        axes.set_ylim(bottom=floor)
        note = "cut at 2e-16 of the first loss; below that is only rounding"
        axes.annotate(note, (0.01, 0.02), xycoords="axes fraction", color=GREY, fontsize=8)


def _fit(axes: Axes, what: dict) -> None:
    fit = what["fit"]
    axes.scatter(fit["x"], what["actual"], color=BLUE, s=18, alpha=0.7, label=what["subset"])
    axes.plot(fit["along"], fit["height"], color=ORANGE, label=fit["label"])
    axes.set(xlabel=fit["name"], ylabel=what["target"], title="Fit")
    axes.legend(frameon=False)


def _agreement(axes: Axes, what: dict) -> None:
    y, predicted, target = what["actual"], what["predicted"], what["target"]
    axes.scatter(predicted, y, color=BLUE, s=12, alpha=0.5, label=what["subset"])
    ends = [min(*y, *predicted), max(*y, *predicted)]
    axes.plot(ends, ends, color=ORANGE, label="actual = predicted")
    axes.set(xlabel=f"predicted {target}", ylabel=f"actual {target}")
    axes.set_title("Predicted against actual")
    axes.legend(frameon=False)


def _residuals(axes: Axes, what: dict) -> None:
    predicted, target = np.array(what["predicted"]), what["target"]
    axes.scatter(predicted, what["actual"] - predicted, color=BLUE, s=14, alpha=0.6)
    axes.axhline(0, color=GREY, linewidth=1)
    axes.set(xlabel=f"predicted {target}", ylabel=f"actual - predicted {target}")
    axes.set_title(f"Residuals of {what['subset']}")


def draw_sweep(what: dict, folder: Path) -> None:
    """Draw KEY.png for each key that varied.

    Args:
        what: plain values: `metric`, its name; `reached`, its value in each trial; `best`, the
            index of the best trial; `values`, by key the value in each trial.
        folder: where to write.
    """
    for key in what["values"]:
        save(folder / f"{key}.png", partial(trials, key=key, what=what))


def trials(axes: Axes, key: str, what: dict) -> None:
    """Draw the metric of each trial against a key that varied."""
    values, reached, best = what["values"][key], what["reached"], what["best"]
    if not _are_numbers(values):
        values = _words(values)
        axes.xaxis.update_units(values)  # every level, in the order of the trials
        axes.set_xlim(-0.5, len(set(values)) - 0.5)
    elif _wide(values):
        axes.set_xscale("log")
    if _wide(reached):
        axes.set_yscale("log")
    for label, members in _groups(key, what["values"], len(reached)).items():
        shown = [values[m] for m in members], [reached[m] for m in members]
        axes.scatter(*shown, color=None if label else BLUE, s=22, alpha=0.7, label=label or "trial")
    ring = {"facecolors": "none", "edgecolors": ORANGE, "linewidths": 2, "label": "best trial"}
    axes.scatter(values[best], reached[best], s=90, **ring)
    axes.set(xlabel=key, ylabel=what["metric"], title=f"{what['metric']} against {key}")
    axes.legend(frameon=False)


def _groups(shown: str, values: dict[str, list[Any]], number: int) -> dict[str, list[int]]:
    """The indices of the trials, grouped by the first other key of text with few values; a single
    group if there is no such key."""
    for key, of in values.items():
        words = _words(of)
        levels = list(dict.fromkeys(words))
        if key != shown and not _are_numbers(of) and 1 < len(levels) <= MOST_COLOURS:
            name = key.rpartition(".")[2]
            return {f"{name} {w}": [i for i, word in enumerate(words) if word == w] for w in levels}
    return {"": list(range(number))}


def _are_numbers(values: list[Any]) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _words(values: list[Any]) -> list[str]:
    return [v if isinstance(v, str) else json.dumps(v) for v in values]


def _wide(values: list[float]) -> bool:
    return min(values) > 0 and max(values) > LOG_RATIO_OF_SWEEP * min(values)


if __name__ == "__main__":
    kind, folder = sys.argv[1:]
    draw = {"run": draw_run, "sweep": draw_sweep}[kind]
    draw(json.loads(sys.stdin.read().replace("$", r"\\$")), Path(folder))  # $ starts no formula
