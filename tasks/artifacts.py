"""Artifacts of a flow run in Prefect's UI: a summary, a link to MLflow, and progress."""

import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING
from uuid import UUID

from prefect import get_client
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.context import FlowRunContext
from prefect.runtime import flow_run

if TYPE_CHECKING:
    from tasks.tracking.run import Run

QUIET_SECONDS = 3.0  # before the first progress artifact, and between updates
SHOWN = (
    "train_mse", "train_rmse", "test_rmse", "test_r2", "test_accuracy", "test_log_loss",
    "gain_over_linear", "optimal_mse", "optimality_gap",
)  # fmt: skip
PREDICTED = ("prediction_", "probability_")


def publish(run: "Run", title: str, metrics: Mapping[str, float]) -> None:
    """Publish a summary of the result, a link to the MLflow run, and the scores."""
    shown = [name for name in SHOWN if name in metrics]
    shown += [name for name in metrics if name.startswith(PREDICTED)]
    rows = [f"| {escaped(name)} | {metrics[name]:.6g} |" for name in shown]
    table = "\n".join(["| metric | value |", "|---|---:|", *rows])
    title, link = escaped(title), f"[Run '{escaped(run.name)}' in MLflow]({run.page})"
    text = f"# {title}\n\n{link}\n\n{table}\n"
    create_markdown_artifact(text, key="summary", description=f"Results of {title}")
    create_link_artifact(run.page, f"Run '{run.name}'", key="mlflow-run", description=title)
    create_table_artifact(beside_baselines(metrics), key="scores", description=title)


def beside_baselines(metrics: Mapping[str, float]) -> list[dict[str, str]]:
    """A row per score: the model's, the linear model's, and the mean's or the class shares'."""
    return [
        {
            "score": name,
            "this model": f"{metrics[name]:.6g}",
            "linear model": _first(metrics, f"linear_{name}"),
            "mean or largest class": _first(metrics, f"mean_{name}", f"majority_{name}"),
        }
        for name in SHOWN
        if name in metrics
    ]


def _first(metrics: Mapping[str, float], *names: str) -> str:
    return next((f"{metrics[name]:.6g}" for name in names if name in metrics), "")


def name_flow_run(name: str) -> None:
    """Rename the flow run to the name of its MLflow run, which may have got a number."""
    if flow_run.name != name:
        with get_client(sync_client=True) as client:
            client.update_flow_run(flow_run.id, name=name)
        FlowRunContext.get().flow_run.name = name  # which notifications show


def escaped(text: str) -> str:
    """A name on one line, with special characters of Markdown and HTML escaped."""
    return re.sub(r"([^\w\s])", r"\\\1", " ".join(text.split()))


class ProgressArtifact:
    """A progress bar in Prefect's UI for long work."""

    def __init__(self, key: str, what: str, total: int) -> None:
        self._key, self._what, self._total = key, what, total
        self._last = time.monotonic()
        self._id: UUID | None = None

    def show(self, done: int) -> None:
        """Show how much is done; call it from the flow's own thread."""
        now = time.monotonic()
        finished = done >= self._total and self._id is not None
        if now - self._last < QUIET_SECONDS and not finished:
            return
        self._last = now
        progress = 100.0 * done / max(1, self._total)
        if self._id is None:
            self._id = create_progress_artifact(progress, self._key, self._what)
        else:
            update_progress_artifact(self._id, progress)
