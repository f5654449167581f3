"""The pictures of a sweep: what its trials reached against each parameter that varied."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.pictures.style import BLUE, ORANGE, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_COLOURS = 8  # that can be told apart
MANY_TIMES = 50  # between the least and the largest value: then the axis is logarithmic


def draw_sweep(what: dict, folder: Path) -> None:
    """Draw what `drawing_sweep` describes."""
    for key, values in what["values"].items():
        save(folder / f"{key}.png", lambda axes, k=key, v=values: trials(axes, k, v, what))


def trials(axes: "Axes", key: str, values: list[Any], what: dict) -> None:
    """Draw what each trial reached against one of the keys that varied."""
    reached, best = what["reached"], what["best"]
    if not _are_numbers(values):
        words = _words(values)
        levels = list(dict.fromkeys(words))
        values = [levels.index(word) for word in words]
        axes.set_xticks(range(len(levels)), levels)
        axes.set_xlim(-0.5, len(levels) - 0.5)
    elif _wide(values):
        axes.set_xscale("log")
    if _wide(reached):
        axes.set_yscale("log")
    for label, members in _groups(key, what["values"], len(reached)).items():
        shown = [values[m] for m in members], [reached[m] for m in members]
        axes.scatter(
            *shown, color=None if label else BLUE, s=22, alpha=0.7, label=label or "a trial"
        )
    ring = {"facecolors": "none", "edgecolors": ORANGE, "linewidths": 2, "label": "the best"}
    axes.scatter(values[best], reached[best], s=90, **ring)
    axes.set(xlabel=key, ylabel=what["metric"], title=f"{what['metric']} against {key}")
    axes.legend(frameon=False)


def _groups(shown: str, values: dict[str, list[Any]], number: int) -> dict[str, list[int]]:
    """The places of the trials by the first other key of words, if it has few; else all of them."""
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
    return min(values) > 0 and max(values) > MANY_TIMES * min(values)
