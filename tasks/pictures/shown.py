"""Collects the data of a run's plots, which a process draws while the model is logged."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import torch
from torch import Tensor

from plumbline.linear.dataset import Dataset
from plumbline.linear.sample import SAMPLE_ROWS
from plumbline.training.advice import is_far
from plumbline.training.experiment import Result
from plumbline.training.importance import permutation_importance
from plumbline.training.trained import Trained
from tasks.coefficients import penalty_plot_data, standard_coefficients
from tasks.pictures.style import thinned

ROOT = Path(__file__).resolve().parents[2]


def pictures(
    folder: Path, result: Result, drift: dict[str, Any] | None = None
) -> AbstractContextManager[None]:
    """Draw a run's plots into folder/plots while the body runs; wait for them at its end.

    Also writes importance.json if column importance is requested.

    Args:
        folder: where to write.
        result: of the run.
        drift: from `drift_plot_data`, if known.
    """
    data, trained = result.data, result.trained
    (folder / "plots").mkdir()
    if not len(data.summary.sample.rows):  # every held-out row was dropped, or none was sampled
        return nullcontext()
    best, validation = trained.best_epoch, trained.validation_losses
    places = thinned(len(trained.losses))
    what = {
        "epochs": (places + 1).tolist(),
        "losses": [trained.losses[place] for place in places],
        "validation_losses": [validation[place] for place in places] if validation else [],
        "best": best and (best, validation[best - 1]),
        "optimum": trained.exact.optimum.mse if trained.exact else None,
        "unconverged": _unconverged(result),
        "target": data.target,
        "subset": describe_sample(data),
        "importance": _importance(result),
        "coefficients": standard_coefficients(result),
        "path": penalty_plot_data(result),
        "drift": drift,
    }
    if what["importance"]:
        (folder / "importance.json").write_text(json.dumps(what["importance"], indent=2))
    points = _class_points(result) if data.encoding.classes else _points(result)
    return draw_beside("run", what | points, folder / "plots")


@contextmanager
def draw_beside(kind: str, what: dict, folder: Path) -> Iterator[None]:
    """Draw plots into a folder, in another process, while the body runs; wait for it at its end.

    The process is killed if the body raises.

    Args:
        kind: "run" or "sweep".
        what: as `draw_run` or `draw_sweep` takes it.
        folder: where to write.

    Raises:
        RuntimeError: the plots could not be drawn.
    """
    command = [sys.executable, "-m", "tasks.pictures.run", kind, str(folder)]
    with Popen(command, cwd=ROOT, stdin=PIPE, stderr=PIPE, text=True) as process:
        try:
            process.stdin.write(json.dumps(what))
            process.stdin.close()
            process.stdin = None
            yield
        except BaseException:
            process.kill()
            raise
        _, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the plots could not be drawn: {errors.strip()[-500:]}")


def _importance(result: Result) -> dict[str, Any] | None:
    """The column importance for importance.json; None unless requested."""
    explain, config = result.config.prediction.explain, result.config
    if explain is False or (explain == "auto" and config.model.kind == "linear"):
        return None
    found = permutation_importance(result.trained.module, result.data, config.training.seed)
    return found and asdict(found)


def _points(result: Result) -> dict[str, Any]:
    rows = result.data.summary.sample.rows[:SAMPLE_ROWS]
    features, actual = rows[:, :-1], rows[:, -1]
    return {
        "actual": result.data.in_own_units(actual).tolist(),
        "predicted": result.outputs[:, 0].tolist(),
        "fit": _fit(result.trained, features[:, 0], result.data.summary.columns)
        if features.shape[1] == 1
        else None,
    }


def _class_points(result: Result) -> dict[str, Any]:
    """The classes of the sample's rows, and the probabilities that the model predicts."""
    return {
        "classes": result.data.encoding.classes,
        "observed": result.data.observed_classes[:SAMPLE_ROWS].tolist(),
        "probabilities": result.outputs.softmax(dim=1).tolist(),
    }


@torch.no_grad()
def _fit(trained: Trained, x: Tensor, columns: Sequence[str]) -> dict[str, Any]:
    """The curve of a model with a single feature, over the range of x."""
    name, target = columns
    along = torch.linspace(float(x.min()), float(x.max()), 200, dtype=torch.float64)
    label = "the model"
    if trained.exact:
        slope, line = float(trained.line.weights[0]), trained.line
        target = target if line is trained.module else f"log({target})"
        label = f"{target} = {line.intercept:.4g} + {slope:.4g} · {name}"
    return {
        "name": name,
        "x": x.tolist(),
        "along": along.tolist(),
        "height": trained.module(along[:, None])[:, 0].tolist(),
        "label": label,
    }


def is_far_from_optimum(result: Result) -> bool:
    """Whether the model is far from the exact optimum, as `is_far` defines it."""
    gap = result.metrics.get("optimality_gap", 0.0)
    return is_far(result.trained, result.config.training, gap)


def _unconverged(result: Result) -> str:
    """Why the model is not at its optimum; "" if it is, or if its optimum is unknown."""
    if result.trained.likelihood and result.trained.likelihood.problem:
        return "there is no optimum"
    return "far from the exact optimum" if is_far_from_optimum(result) else ""


def describe_sample(data: Dataset) -> str:
    """Describe the rows that the plots show."""
    held_out = data.summary.test.rows
    shown = min(SAMPLE_ROWS, len(data.summary.sample.rows))
    share, rows = ("held-out", held_out) if held_out else ("training", data.summary.train.rows)
    if shown == rows:
        return f"{rows} {share} rows"
    return f"{shown} of {rows} {share} rows (a uniform sample)"
