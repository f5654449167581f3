"""The plots of columns: their importance, coefficients and drift, and the path of a penalty."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from tasks.pictures.style import BLUE, GREEN, GREY, ORANGE, cut, save

MOST_SHOWN = 30
MOST_NAMED = 10  # features in the legend of a penalty's path
MOST_INDICES = 3  # stability indices in a label


def draw_importance(found: dict, folder: Path) -> None:
    """Draw the increase of the score if a column is permuted, from an Importance as a dict."""
    rows = [(name, each["mean"], each["std"]) for name, each in found["columns"].items()]
    metric, score = found["metric"], found["score"]
    words = {
        "title": f"Permutation importance on {found['rows']:,} held-out rows",
        "xlabel": f"increase of {metric} (from {score:.4g}) if the column is permuted: "
        f"mean ± std. deviation of {found['repeats']}",
    }
    draw_ranked(folder / "importance.png", rows, words)


def draw_coefficients(found: dict, folder: Path) -> None:
    """Draw the coefficients with their confidence intervals, from `standard_coefficients`."""
    from scipy.special import stdtrit  # Student's quantile

    wide = stdtrit(found["degrees_of_freedom"], 0.975)
    rows = sorted(found["rows"], key=lambda row: -abs(row[1]))
    near = 0.01 * abs(rows[0][1])
    trained = [(place, row[3]) for place, row in enumerate(rows[:MOST_SHOWN]) if len(row) > 3]
    if all(abs(value - rows[place][1]) <= near for place, value in trained):
        trained = []
    rows = [(name, value, wide * error) for name, value, error, *_ in rows]
    words = {"title": f"{found['title']}, 95 % intervals", "xlabel": found["xlabel"]}
    if found["left_out"]:
        words["xlabel"] += f"\n({found['left_out']} that the data do not determine left out)"
    draw_ranked(folder / "coefficients.png", rows, words, trained)


def draw_path(found: dict, folder: Path) -> None:
    """Draw the coefficients against the strength of a penalty, from `penalty_plot_data`; below that
    the cross-validated error if there are folds. Those largest at the chosen strength are named."""
    strengths, weights = found["strengths"], np.array(found["weights"])
    size, chosen = np.abs(weights), strengths[found["chosen"]]
    order = np.lexsort((-size.max(axis=0), -size[found["chosen"]]))[:MOST_SHOWN]

    def plot(above: Axes, *below: Axes) -> None:
        for place, j in enumerate(order):
            named = place < MOST_NAMED
            label = cut(found["names"][j]) if named else "others" if place == MOST_NAMED else None
            style = {} if named else {"color": GREY, "linewidth": 0.7}
            above.plot(strengths, weights[:, j], label=label, **style)
        above.set(ylabel="coefficient (standardised features)", xscale="log")
        above.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
        for axes in below:
            bar = {"yerr": found["standard_errors"], "ecolor": GREY, "elinewidth": 0.8}
            axes.errorbar(strengths, found["mean_errors"], color=BLUE, marker=".", **bar)
            axes.set(ylabel=f"RMSE over {found['folds']} folds ± std. error")
        for axes in (above, *below):
            axes.axvline(chosen, color=ORANGE, linestyle="--")
        (above, *below)[-1].set_xlabel(f"strength (dashed: the chosen one, {chosen:.4g})")
        left_out = len(weights[0]) - len(order)
        more = f" ({left_out} smaller coefficients left out)" if left_out else ""
        above.set_title(f"Path of the penalty: {found['kind']}{more}")

    panels = 2 if found["folds"] else 1
    save(folder / "penalty.png", plot, height=1 + 3.2 * panels, panels=panels)


def draw_drift(found: dict, folder: Path) -> None:
    """Draw the shifts of means, the shares of levels and missing values, and the predictions, from
    `drift_plot_data`."""
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
    """Draw a line from the share then to the share now, for each level and each column with missing
    values."""
    rows = sorted(found["shares"], key=lambda row: -abs(row[2] - row[1]))
    names, then, now = zip(*rows[:MOST_SHOWN], strict=True)
    indices = sorted(found["stability"].items(), key=lambda item: -item[1])[:MOST_INDICES]
    listed = ", ".join(f"{cut(name)} {index:.2g}" for name, index in indices)
    left_out = (
        f" ({len(rows) - len(names)} smaller changes left out)" if len(rows) > MOST_SHOWN else ""
    )

    def plot(axes: Axes) -> None:
        lines = range(len(names))
        axes.hlines(lines, then, now, color=GREY, linewidth=1)
        axes.scatter(then, lines, color=GREY, label="then")
        axes.scatter(now, lines, color=BLUE, label="now")
        axes.set_yticks(lines, [cut(each) for each in names])
        axes.set_ylim(len(lines) - 0.5, -0.5)
        axes.legend(frameon=False)
        axes.figure.suptitle(f"Shares of rows since the champion was trained{left_out}")
        axes.figure.supxlabel(f"share; stability index: {listed}", fontsize="medium")

    save(path, plot, height=1.2 + 0.25 * max(6, len(names)))


def _predictions(
    axes: Axes, edges: list[float], then: dict[str, float], now: dict[str, float], index: float
) -> None:
    """Draw two bars for each tenth of the champion's predictions, or for each class."""
    if edges:
        groups = [str(place) for place in range(len(edges) + 1)]
        names = [f"below {edges[0]:.4g}", *(f"from {edge:.4g}" for edge in edges)]
    else:
        names = groups = sorted(then.keys() | now.keys())
    places = np.arange(len(groups))
    for offset, shares, color, label in ((-0.2, then, GREY, "then"), (0.2, now, BLUE, "now")):
        heights = [shares.get(group, 0.0) for group in groups]
        axes.bar(places + offset, heights, 0.4, color=color, label=label)
    axes.set_xticks(places, [cut(each) for each in names], rotation=30 if len(names) > 4 else 0)
    axes.set(
        xlabel="prediction", ylabel="share of rows",
        title=f"The champion's predictions then, the new model's now: stability index {index:.2g}",
    )  # fmt: skip
    axes.legend(frameon=False)


def draw_ranked(
    path: Path,
    rows: list[tuple[str, float, float]],
    words: dict[str, str],
    trained: Sequence[tuple[int, float]] = (),
) -> None:
    """Draw a point with an error bar for each (name, value, error), up to 30 from the top, and a
    ring for each (place, value) that was trained and differs."""
    names, values, errors = zip(*rows[:MOST_SHOWN], strict=True)
    lines = range(len(names))

    def plot(axes: Axes) -> None:
        axes.axvline(0, color=GREY, linewidth=1)
        axes.errorbar(values, lines, xerr=errors, fmt="o", color=BLUE, ecolor=ORANGE, capsize=3)
        if trained:
            places, instead = zip(*trained, strict=True)
            ring = {"s": 60, "facecolors": "none", "edgecolors": GREEN, "zorder": 3}
            axes.scatter(instead, places, label="as trained", **ring)
            axes.legend(frameon=False)
        axes.set_yticks(lines, [cut(each) for each in names])
        axes.set_ylim(len(lines) - 0.5, -0.5)
        left_out = len(rows) - len(names)
        more = f" ({left_out} smaller ones left out)" if left_out else ""
        axes.figure.suptitle(f"{words['title']}{more}")  # the axes are narrow beside long names
        axes.figure.supxlabel(words["xlabel"], fontsize="medium")

    save(path, plot, height=1.2 + 0.25 * max(6, len(names)))
