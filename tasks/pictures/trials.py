"""The pictures of a sweep: what its trials reached against each parameter that varied."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.pictures.style import BLUE, ORANGE, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MANY_TIMES = 50  # between the least and the largest value: then the axis is logarithmic


def draw_sweep(what: dict, folder: Path) -> None:
    """Draw what `drawing_sweep` describes."""
    for key, values in what["values"].items():
        save(folder / f"{key}.png", lambda axes, k=key, v=values: _trials(axes, k, v, what))


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
