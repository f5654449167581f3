"""The pictures of a run."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from regression.sample import Sample
from regression.training import Trained

BLUE, ORANGE, GREY = "#1f5a94", "#d9822b", "#8a8a8a"
MOST_POINTS = 2_000


def draw(trained: Trained, sample: Sample, told: str, folder: Path) -> None:
    """Write loss.png, fit.png and residuals.png into a folder.

    Args:
        trained: the model.
        sample: rows to show.
        told: what they are, such as "36 training rows".
        folder: where to write.
    """
    x, y = sample.rows[:, :-1].numpy(), sample.rows[:, -1].numpy()
    predicted = trained.intercept + x @ trained.weights.numpy()
    target = sample.columns[-1]
    _save(folder / "loss.png", lambda axes: _loss(axes, trained))
    if len(trained.names) == 1:
        _save(folder / "fit.png", lambda axes: _line(axes, x[:, 0], y, trained, target, told))
    else:
        _save(folder / "fit.png", lambda axes: _agreement(axes, y, predicted, target, told))
    _save(folder / "residuals.png", lambda axes: _residuals(axes, y, predicted, target, told))


def _save(path: Path, plot: Callable[[Axes], None]) -> None:
    figure = Figure(figsize=(7, 4.5), dpi=110)
    axes = figure.add_axes((0.13, 0.13, 0.83, 0.78))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    plot(axes)
    figure.savefig(path)


def _loss(axes: Axes, trained: Trained) -> None:
    count = len(trained.losses)
    shown = np.unique(np.linspace(0, count - 1, min(count, MOST_POINTS)).round().astype(int))
    axes.plot(
        shown + 1,
        np.array(trained.losses)[shown],
        color=BLUE,
        marker="." if count < 20 else None,
        label="training loss",
    )
    optimum = trained.plan.optimum.mse
    if optimum > 0:
        axes.axhline(optimum, color=ORANGE, linestyle="--", label=f"exact optimum {optimum:.4g}")
    if min(trained.losses) > 0:
        axes.set_yscale("log")
    axes.set(xlabel="epoch", ylabel="loss (before the epoch's step)", title="Loss")
    axes.legend(frameon=False)


def _line(
    axes: Axes, x: np.ndarray, y: np.ndarray, trained: Trained, target: str, told: str
) -> None:
    name = trained.names[0]
    axes.scatter(x, y, color=BLUE, s=18, alpha=0.7, label=told)
    ends = np.array([x.min(), x.max()])
    slope = float(trained.weights[0])
    axes.plot(
        ends,
        trained.intercept + slope * ends,
        color=ORANGE,
        label=f"{target} = {trained.intercept:.4g} + {slope:.4g} · {name}",
    )
    axes.set(xlabel=name, ylabel=target, title="Fit")
    axes.legend(frameon=False)


def _agreement(axes: Axes, y: np.ndarray, predicted: np.ndarray, target: str, told: str) -> None:
    axes.scatter(predicted, y, color=BLUE, s=12, alpha=0.5, label=told)
    low, high = min(y.min(), predicted.min()), max(y.max(), predicted.max())
    axes.plot([low, high], [low, high], color=ORANGE, label="actual = predicted")
    axes.set(
        xlabel=f"predicted {target}", ylabel=f"actual {target}", title="Predicted against actual"
    )
    axes.legend(frameon=False)


def _residuals(axes: Axes, y: np.ndarray, predicted: np.ndarray, target: str, told: str) -> None:
    axes.scatter(predicted, y - predicted, color=BLUE, s=14, alpha=0.6)
    axes.axhline(0, color=GREY, linewidth=1)
    axes.set(xlabel=f"predicted {target}", ylabel=f"actual - predicted {target}")
    axes.set_title(f"Residuals of {told}")
