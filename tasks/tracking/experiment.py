"""Names, descriptions, params and a saved view of runs, for display in MLflow's UI.

By default MLflow's run table shows the columns Dataset and Source, but no metric or parameter. A
saved view can change that; MLflow keeps it as a tag of the experiment, which this module writes.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import (
    MLFLOW_GIT_COMMIT,
    MLFLOW_RUN_NOTE,
    MLFLOW_SOURCE_NAME,
    MLFLOW_SOURCE_TYPE,
)

from plumbline.config.metrics import SUMMARY
from plumbline.config.schema import Config, SyntheticData
from plumbline.config.sweep import Sweep
from plumbline.errors import refuse
from tasks.tracking.store import ROOT, like, runs_where

NOTE_TAG = MLFLOW_RUN_NOTE  # markdown, on runs and on experiments
LONGEST_REASON = 500
VIEW, VIEW_NAME = "plumbline", "What matters"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
LONGEST_NAME = 120  # of a run
# These params are left out while they are `auto`: the number of training rows decides them.
WAITING = tuple((f"training.{key}", "auto") for key in ("batch_size", "epochs", "patience"))
PRUNED_TAG = "pruned"  # of a sweep's trial: the epoch at which it was pruned
SWEEP_TAG = "plumbline.sweep"  # of a sweep's parent run, which repeats its best trial
# Columns of the run table by the UI's names for them, with their widths in pixels. The first ones
# fit a window of 1,400 pixels. The UI always shows a run's name and time. It shows every digit of a
# metric, so a narrower column would cut off the exponent.
NAME_AND_TIME = {"attributes.`Run Name`": 235, "runDateAndNestInfo": 110}
METRIC_WIDTH = 172
COLUMNS = {
    "metrics.`gain_over_linear`": METRIC_WIDTH,
    "params.`model.kind`": 90,
    "params.`training.learning_rate`": 160,
    "params.`training.epochs`": 120,
    **{f"metrics.`{name}`": METRIC_WIDTH for name in SUMMARY if name != "gain_over_linear"},
    "params.`training.optimizer`": 150,
    "params.`data.noise`": 100,
    "metrics.`loss`": METRIC_WIDTH,
    "attributes.`Description`": 500,
}
# The metrics with the first charts, in this order; the UI adds charts for the others after them.
# A metric that no run has gets no chart, and one with several epochs gets a line chart.
CHARTS = ("loss", "validation_loss", *SUMMARY)
SECTIONS = ("Model metrics", "System metrics")  # the UI's names for them


def headline(config: Config) -> str:
    """The name of the metric that says how good a run is."""
    share = "test" if config.data.test_fraction else "train"
    return f"{share}_{'log_loss' if config.training.loss == 'cross_entropy' else 'rmse'}"


def experiment_id(client: MlflowClient, name: str, score: str) -> str:
    """Return the id of an experiment, creating or restoring it if necessary.

    Args:
        name: of the experiment.
        score: the metric in the first column of a new experiment's view.

    Raises:
        InputError: MLflow does not accept the name.
    """
    found = client.get_experiment_by_name(name)
    if found:
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return found.experiment_id
    try:
        made = client.create_experiment(name, tags={VIEW_TAG: _view(score)})
    except MlflowException as error:
        if error.error_code == "INVALID_PARAMETER_VALUE":
            allowed = f"a name that MLflow accepts ({error.message})"
            raise refuse("experiment", allowed, name) from None
        if found := client.get_experiment_by_name(name):  # another process has just created it
            return found.experiment_id
        raise
    client.set_experiment_tag(made, NOTE_TAG, _note(made))
    return made


def unused_name(client: MlflowClient, experiment: str, name: str) -> str:
    """The name on one line, with a number added if a run of the experiment has it: `name (2)`."""
    name = " ".join(name.split())[:LONGEST_NAME]
    pattern = like(name)

    def newest(alike: str) -> list[str]:
        named = f"attributes.run_name LIKE '{alike}'"
        found = client.search_runs([experiment], named, max_results=1)
        return [run.info.run_name for run in found]

    if numbered := newest(f"{pattern} (%)"):
        number = re.search(r" \((\d+)\)$", numbered[0])
        return f"{name} ({int(number.group(1)) + 1 if number else 2})"
    return f"{name} (2)" if newest(pattern) else name


def newest_experiment(client: MlflowClient) -> Experiment | None:
    """The experiment of the newest run; None if there are no runs."""
    found = runs_where("", max_results=1)
    return client.get_experiment(found[0].info.experiment_id) if found else None


def page(experiment: Experiment) -> str:
    """The part of a URL that opens an experiment's run table in MLflow's UI, in the saved view if
    the experiment has it."""
    view = VIEW if VIEW_TAG in experiment.tags else None
    return _runs_page(experiment.experiment_id, view)


def _runs_page(experiment: str, view: str | None) -> str:
    """The address after the server's; without workflowType the UI opens its pages for LLMs."""
    shown = f"&viewStateShareKey={view}" if view else ""
    return f"#/experiments/{experiment}/runs?workflowType=machine_learning{shown}"


def _note(experiment: str) -> str:
    return (
        "One run for each trained model, recorded by Plumbline. "
        f"[The columns that matter]({_runs_page(experiment, VIEW)}); "
        "on the terminal: `make compare`."
    )


def _view(score: str) -> str:
    """A saved view in the UI's format, JSON within JSON, with a score in the first column."""
    columns = {f"metrics.`{score}`": METRIC_WIDTH} | COLUMNS
    widths = NAME_AND_TIME | columns
    shown = {"selectedColumns": list(columns), "columnOrder": list(widths), "columnWidths": widths}
    reordered = {"display": True, "isReordered": True}
    shown["compareRunSections"] = [{"uuid": name, "name": name, **reordered} for name in SECTIONS]
    generated = {"type": "BAR", "isGenerated": True, "metricSectionId": SECTIONS[0]}
    shown["compareRunCharts"] = [{"uuid": m, "metricKey": m, **generated} for m in CHARTS]
    now = int(time.time() * 1000)
    named = {"name": VIEW_NAME, "createdAt": now, "updatedAt": now}
    return json.dumps({**named, "state": json.dumps(shown)})


def description(ending: str, what: str) -> str:
    """A run's description in Markdown: how it ended first, as the run table shows one line of it,
    then what the run is."""
    return f"{ending}\n\n{what}"


def describe_run(config: Config, device: str, flow_run_id: str) -> str:
    """Describe a run's training, data and device, with a link to its flow run in Prefect's UI."""
    where = f"{workers} workers" if (workers := config.ray.workers) else device
    training = f"{_training(config)} on {_data(config)} ({where})"
    return f"{training}. {_prefect_link(flow_run_id)}"


def describe_sweep(sweep: Sweep, flow_run_id: str) -> str:
    """Describe a sweep's trials, with a link to its flow run in Prefect's UI."""
    search = sweep.search
    varied = ", ".join(f"`{key}`" for key in search.parameters)
    goal = f"to {search.direction} `{search.metric}`"
    trials = f"{sweep.trials:,} trials ({search.method})"
    return f"{trials} of {varied}, {goal}. {_prefect_link(flow_run_id)}"


def describe_ending(
    status: str, reason: str, metrics: Mapping[str, float], epochs: str = ""
) -> str:
    """Describe how a run ended: its scores, or why it did not finish and its last loss.

    Args:
        status: MLflow's status of the run.
        reason: why the run did not finish; empty if it did.
        metrics: those recorded so far.
        epochs: the number of epochs; empty if unknown.
    """
    if status == "FINISHED":
        scores = [f"{name} {metrics[name]:.6g}" for name in SUMMARY if name in metrics]
        after = f" after {int(epochs):,} epoch{'s' * (epochs != '1')}" if epochs else ""
        return f"Finished{after}: {', '.join(scores) or 'no scores'}."
    loss = f" Loss by then: {metrics['loss']:.6g}." if "loss" in metrics else ""
    message = " ".join(reason.split())[:LONGEST_REASON].rstrip(".")
    return f"{status.capitalize()}: {message}.{loss}"


def _training(config: Config) -> str:
    model, training = config.model, config.training
    if training.optimizer == "exact":
        return "exact least squares"
    if training.optimizer == "newton":
        what = "Poisson" if training.loss == "poisson" else "logistic"
        return f"{what} regression, Newton's method"
    named = {
        "linear": lambda: "",
        "mlp": lambda: f"net of {'-'.join(map(str, model.hidden))}, ",
        "python": lambda: f"`{model.file}`, ",
    }
    size, epochs = training.batch_size, training.epochs  # not said if auto: see WAITING
    batches = f", batches of {size:,}" if isinstance(size, int) else ""
    most = f", up to {epochs:,} epochs" if isinstance(epochs, int) else ""
    return (
        f"{named[model.kind]()}{training.optimizer}, learning rate {training.learning_rate}, "
        f"{training.loss}{batches}{most}"
    )


def _data(config: Config) -> str:
    data = config.data
    if not isinstance(data, SyntheticData):
        return f"`{data.path}`, target `{data.target}`"
    rows = len(data.x) if data.x is not None else data.rows
    return f"{rows:,} generated rows, noise {data.noise:g}"


def _prefect_link(flow_run_id: str) -> str:
    """A Markdown link to a flow run in Prefect's UI, at PREFECT_UI_URL if that is set."""
    api = os.environ.get("PREFECT_API_URL", "")
    address = os.environ.get("PREFECT_UI_URL") or api.removesuffix("/api")
    return f"[Prefect run]({address}/runs/flow-run/{flow_run_id})"


def params_of(config: Config, device: str) -> dict[str, str]:
    """The params of a run: the value of every dotted key as text, and the device it runs on.

    Keys whose `auto` is decided by the number of rows are left out (WAITING), and the device if
    workers train, which is known once the rows are.
    """
    found = leaves(config.model_dump()).items()
    known = {key: text for key, text in found if (key, text) not in WAITING}
    return known if config.ray.workers else {**known, "device": device}


def leaves(value: object, key: str = "") -> dict[str, str]:
    """Flatten a nested mapping to a dict from dotted keys to text."""
    if not (isinstance(value, dict) and value):
        return {key: value if isinstance(value, str) else json.dumps(value)}
    found: dict[str, str] = {}
    for name, inner in value.items():
        found |= leaves(inner, f"{key}.{name}" if key else name)
    return found


def source_tags() -> dict[str, str]:
    """MLflow's tags for a run's source: the command's file, the project's commit, and whether files
    were changed since; outside a git checkout the latter two are `unknown`."""
    file = Path(sys.argv[0]).resolve()
    name = str(file.relative_to(ROOT)) if file.is_relative_to(ROOT) else file.name
    return {MLFLOW_SOURCE_NAME: name, MLFLOW_SOURCE_TYPE: "LOCAL", **_git_state()}


def _git_state() -> dict[str, str]:
    command = ["git", "status", "--porcelain=v2", "--branch"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return {"git_commit": "unknown", "git_dirty": "unknown"}
    first, *lines = done.stdout.splitlines()  # headers begin with #; the first has the commit
    changed = not all(line.startswith("#") for line in lines)
    commit, dirty = first.split()[-1], str(changed).lower()
    return {MLFLOW_GIT_COMMIT: commit, "git_commit": commit, "git_dirty": dirty}
