"""The pictures of a run: its loss, how well it fits, and those of its columns and classes."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tasks.pictures.classes import draw_classes
from tasks.pictures.columns import draw_coefficients, draw_importance, draw_path
from tasks.pictures.drift import draw_drift
from tasks.pictures.style import BLUE, GREEN, GREY, ORANGE, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OF_COLUMNS = {
    "importance": draw_importance,
    "coefficients": draw_coefficients,
    "path": draw_path,
    "drift": draw_drift,
}

FEW_EPOCHS = 12  # a tick each
MANY_TIMES = 5  # between the least and the largest loss: then the axis is logarithmic


def draw_run(what: dict, folder: Path) -> None:
    """Draw what `drawing` describes."""
    save(folder / "loss.png", lambda axes: _loss(axes, what))
    for name, draw in OF_COLUMNS.items():
        if what[name]:
            draw(what[name], folder)
    if "classes" in what:
        draw_classes(what, folder)
        return
    y, predicted = np.array(what["actual"]), np.array(what["predicted"])
    target, subset = what["target"], what["subset"]
    if what["fit"]:
        save(folder / "fit.png", lambda axes: _fit(axes, y, what["fit"], target, subset))
    else:
        save(folder / "fit.png", lambda axes: _agreement(axes, y, predicted, target, subset))
    save(folder / "residuals.png", lambda axes: _residuals(axes, y, predicted, target, subset))


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
    title = f"Loss ({what['unconverged']})" if what["unconverged"] else "Loss"
    axes.set(xlabel="epoch", ylabel="loss", title=title)
    if len(epochs) <= FEW_EPOCHS:
        axes.set_xticks(epochs)
    axes.legend(frameon=False)


def _scale(axes: "Axes", losses: list[float], optimum: float | None) -> None:
    """The optimum, and a logarithmic axis of losses that differ much, without the decades in which
    there is rounding alone."""
    floor = np.finfo(float).eps * losses[0]
    if optimum is not None and optimum > floor:
        axes.axhline(optimum, color=ORANGE, linestyle="--", label=f"exact optimum {optimum:.4g}")
    if min(losses) < 0 or max(losses) <= MANY_TIMES * min(losses):
        return
    axes.set_yscale("log")
    if min(losses) < floor:
        axes.set_ylim(bottom=floor)
        note = "cut at 2e-16 of the first loss: below that it is rounding"
        axes.annotate(note, (0.01, 0.02), xycoords="axes fraction", color=GREY, fontsize=8)


def _fit(axes: "Axes", y: np.ndarray, fit: dict, target: str, subset: str) -> None:
    axes.scatter(fit["x"], y, color=BLUE, s=18, alpha=0.7, label=subset)
    axes.plot(fit["along"], fit["height"], color=ORANGE, label=fit["label"])
    axes.set(xlabel=fit["name"], ylabel=target, title="Fit")
    axes.legend(frameon=False)


def _agreement(
    axes: "Axes", y: np.ndarray, predicted: np.ndarray, target: str, subset: str
) -> None:
    axes.scatter(predicted, y, color=BLUE, s=12, alpha=0.5, label=subset)
    low, high = min(y.min(), predicted.min()), max(y.max(), predicted.max())
    axes.plot([low, high], [low, high], color=ORANGE, label="actual = predicted")
    axes.set(
        xlabel=f"predicted {target}", ylabel=f"actual {target}", title="Predicted against actual"
    )
    axes.legend(frameon=False)


def _residuals(
    axes: "Axes", y: np.ndarray, predicted: np.ndarray, target: str, subset: str
) -> None:
    axes.scatter(predicted, y - predicted, color=BLUE, s=14, alpha=0.6)
    axes.axhline(0, color=GREY, linewidth=1)
    axes.set(xlabel=f"predicted {target}", ylabel=f"actual - predicted {target}")
    axes.set_title(f"Residuals of {subset}")
