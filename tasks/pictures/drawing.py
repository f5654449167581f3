"""The pictures of a run or a sweep, drawn by a process of their own while the model is logged.

`python -m tasks.pictures.drawing FOLDER` reads what to draw as JSON from its standard input. It
imports matplotlib and nothing slow besides, and the run's own process never imports matplotlib.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from subprocess import PIPE, Popen

import numpy as np

from tasks.pictures.run import draw_run
from tasks.pictures.trials import draw_sweep

CURVES = ("losses", "validation_losses")
MOST_POINTS = 2_000
ROOT = Path(__file__).resolve().parents[2]


def drawing(what: dict, folder: Path) -> AbstractContextManager[None]:
    """Write loss.png, fit.png and residuals.png beside the body, of classes loss.png,
    confusion.png, roc.png and calibration.png, and what else is given; they are there when it ends.

    Args:
        what: plain values: `losses` (one an epoch); `validation_losses`, as many or none;
            `best_epoch`, whose weights were kept, or None; `optimum`, the exact loss, or None;
            `unconverged`, why it is not at its optimum, or empty; `target`; `actual` and
            `predicted` values of some rows; `subset`, which rows they are; `fit`: None, or of a
            model of one feature its `name`, `x` (of the rows), the curve's `along` and `height`,
            and `label`, what the curve is called. Of classes, in place of `actual`, `predicted` and
            `fit`: `classes`, their names; `observed`, a place among them a row; `probabilities`, of
            each class a row. If there are such, otherwise None: `importance`, an Importance as a
            dict; `coefficients`, from `standard_coefficients`; `path`, from `shown_path`; `drift`,
            from `shown_drift`.
        folder: where to write.
    """
    shown = thinned(len(what["losses"]))
    points = {key: [what[key][i] for i in shown if what[key]] for key in CURVES}
    best = what["best_epoch"]
    point = best and [best, what["validation_losses"][best - 1]]
    drawn = {**what, **points, "epochs": (shown + 1).tolist(), "best": point}
    return draw_beside({"kind": "run", **drawn}, folder)


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
    command = [sys.executable, "-m", "tasks.pictures.drawing", str(folder)]
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


if __name__ == "__main__":
    given = json.loads(sys.stdin.read().replace("$", r"\\$"))  # a name is no formula
    draw = {"run": draw_run, "sweep": draw_sweep}[given["kind"]]
    draw(given, Path(sys.argv[1]))
