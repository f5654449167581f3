"""The plots of a classifier: confusion matrix, ROC curve and calibration."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from tasks.pictures.style import GREY, save

MOST_CLASSES, MOST_NAMED = 10, 15  # with a curve; with labels and counts in the matrix
ROC_WORDS = {
    "title": "ROC",
    "xlabel": "false positive rate (share of the other rows that is taken for the class)",
    "ylabel": "true positive rate (share of the class that is found)",
}
BINS = {"title": "Calibration", "xlabel": "predicted probability", "ylabel": "share of the class"}


def draw_classes(what: dict, folder: Path) -> None:
    """Draw the confusion matrix, and the ROC curve and calibration of the second of two classes, or
    of each of the first ten classes against the rest."""
    names, p, observed = what["classes"], np.array(what["probabilities"]), what["observed"]
    is_class = np.eye(len(names), dtype=bool)[observed]
    shown = [1] if len(names) == 2 else range(min(len(names), MOST_CLASSES))
    curves = [(names[i], p[:, i], is_class[:, i]) for i in shown]
    counts = is_class.T.astype(int) @ np.eye(len(names), dtype=int)[p.argmax(axis=1)]
    target, subset = what["target"], what["subset"]
    save(folder / "confusion.png", lambda axes: _confusion(axes, counts, names, target, subset))
    save(folder / "roc.png", lambda axes: _curves(axes, curves, roc, ROC_WORDS, subset))
    save(folder / "calibration.png", lambda axes: _curves(axes, curves, calibration, BINS, subset))


def roc(p: np.ndarray, is_class: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The false and true positive rates at each threshold, (m,) each; 0 if there are no such rows.

    Args:
        p: the predicted probability of the class, (n,).
        is_class: whether a row is of the class, (n,).
    """
    thresholds = np.array([np.inf, *np.unique(p)[::-1]])
    taken = p >= thresholds[:, None]
    others, found = (
        taken[:, rows].sum(axis=1) / max(1, rows.sum()) for rows in (~is_class, is_class)
    )
    return others, found


def calibration(p: np.ndarray, is_class: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean probability and the share of the class, (m,) each, in the tenths of [0, 1] with any
    rows."""
    places = np.minimum((p * 10).astype(int), 9)
    tenths = [places == i for i in np.unique(places)]
    return np.array([p[t].mean() for t in tenths]), np.array([is_class[t].mean() for t in tenths])


def _confusion(axes: Axes, counts: np.ndarray, names: list[str], target: str, subset: str) -> None:
    axes.imshow(counts / np.maximum(1, counts.sum(axis=1, keepdims=True)), "Blues", vmin=0, vmax=1)
    axes.grid(visible=False)
    if len(names) <= MOST_NAMED:
        axes.set_xticks(range(len(names)), names, rotation=30 if len(names) > 4 else 0)
        axes.set_yticks(range(len(names)), names)
        for (i, j), count in np.ndenumerate(counts):
            dark = count > counts[i].sum() / 2
            axes.text(j, i, f"{count:,}", ha="center", va="center", color="white" if dark else GREY)
    axes.set(ylabel=f"actual {target}", title=f"Predicted {target}, across: {subset}")


def _curves(
    axes: Axes,
    curves: list[tuple[str, np.ndarray, np.ndarray]],
    points_of: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
    words: dict[str, str],
    subset: str,
) -> None:
    """Draw a line for each (name, probabilities, whether a row is of the class)."""
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1)
    for name, p, is_class in curves:
        marker = "." if points_of is calibration else None
        axes.plot(*points_of(p, is_class), marker=marker, label=name)
    axes.set(**{**words, "title": f"{words['title']}: {subset}"})
    axes.legend(frameon=False)
