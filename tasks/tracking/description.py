"""What MLflow's UI says of a run in two lines: how it ended, and what it was."""

import os
from collections.abc import Mapping

from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from plumbline.config.schema import Config, SyntheticData, Training
from plumbline.config.sweep import Sweep

NOTE_TAG = MLFLOW_RUN_NOTE  # markdown, on runs and on experiments
SCORES = ("test_rmse", "train_rmse", "optimality_gap")
LONGEST_REASON = 500


def description(ending: str, what: str) -> str:
    """The two lines; in the run table's narrow column the first is what can be read."""
    return f"{ending}\n\n{what}"


def what_it_is(config: Config, device: str, flow_run_id: str) -> str:
    """How it trains on which data, and a link to its flow run in Prefect's UI."""
    training = f"{_training(config.training)} on {_data(config)} ({device})"
    return f"{training}. {_link(flow_run_id)}"


def what_a_sweep_is(sweep: Sweep, flow_run_id: str) -> str:
    """How many trials of what, and a link to its flow run in Prefect's UI."""
    search = sweep.search
    varied = ", ".join(f"`{key}`" for key in search.parameters)
    goal = f"to {search.direction} `{search.metric}`"
    return f"{sweep.trials:,} trials ({search.method}) of {varied}, {goal}. {_link(flow_run_id)}"


def how_it_ended(status: str, reason: str, metrics: Mapping[str, float], epochs: str = "") -> str:
    """FINISHED with its scores, or why it ended otherwise and the loss it had by then.

    Args:
        status: MLflow's.
        reason: in words; empty for FINISHED.
        metrics: as recorded so far.
        epochs: how many were run; empty where that is not known.
    """
    if status == "FINISHED":
        scores = [f"{name} {metrics[name]:.6g}" for name in SCORES if name in metrics]
        after = f" after {int(epochs):,} epoch{'s' * (epochs != '1')}" if epochs else ""
        return f"Finished{after}: {', '.join(scores) or 'no scores'}."
    loss = f" Loss by then: {metrics['loss']:.6g}." if "loss" in metrics else ""
    told = " ".join(reason.split())[:LONGEST_REASON].rstrip(".")
    return f"{status.capitalize()}: {told}.{loss}"


def _training(training: Training) -> str:
    if training.optimizer == "exact":
        return "exact least squares"
    batches = f", batches of {training.batch_size:,}" if training.batch_size else ""
    return (
        f"{training.optimizer}, learning rate {training.learning_rate}, {training.loss}{batches}, "
        f"up to {training.epochs:,} epochs"
    )


def _data(config: Config) -> str:
    data = config.data
    if not isinstance(data, SyntheticData):
        return f"`{data.path}`, target `{data.target}`"
    rows = len(data.x) if data.x is not None else data.rows
    return f"{rows:,} generated rows, noise {data.noise:g}"


def _link(flow_run_id: str) -> str:
    return f"[Prefect run]({_prefect_ui()}/runs/flow-run/{flow_run_id})"


def _prefect_ui() -> str:
    """Where a person can open Prefect's UI: PREFECT_UI_URL, as for Prefect itself."""
    api = os.environ.get("PREFECT_API_URL", "")
    return os.environ.get("PREFECT_UI_URL") or api.removesuffix("/api")
