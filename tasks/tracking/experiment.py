"""Experiments: the names of their runs, and a view of the run table that shows what matters first.

MLflow's UI opens the run table with the columns Dataset and Source, and none of a metric or a
parameter. What it does offer is saved views, kept as tags of the experiment: this writes one.
"""

import json
import re
import time
from collections.abc import Iterator

from mlflow import MlflowClient
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException

from tasks.tracking.description import NOTE_TAG

VIEW, VIEW_NAME = "plumbline", "What matters"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
LONGEST_NAME = 120  # of a run
METRICS = ("test_rmse", "train_rmse", "optimality_gap", "loss")
PARAMS = (
    "training.optimizer",
    "training.learning_rate",
    "training.epochs",
    "training.batch_size",
    "data.noise",
)


def experiment_id(client: MlflowClient, name: str) -> str:
    """The id of an experiment; it is made, or taken out of the bin, where it has to be."""
    found = client.get_experiment_by_name(name)
    if found:
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return found.experiment_id
    try:
        made = client.create_experiment(name, tags={VIEW_TAG: _view()})
    except MlflowException:  # another process was faster
        return client.get_experiment_by_name(name).experiment_id
    client.set_experiment_tag(made, NOTE_TAG, _note(made))
    return made


def unused_name(client: MlflowClient, experiment: str, name: str) -> str:
    """The name on one line; `name (2)` and so on where runs of the experiment have it already."""
    name = " ".join(name.split())[:LONGEST_NAME]
    pattern = re.sub(r"['\"\\%]", "_", name)  # any character: a filter cannot hold quotes

    def newest(like: str) -> list[str]:
        named = f"attributes.run_name LIKE '{like}'"
        found = client.search_runs([experiment], named, max_results=1)
        return [run.info.run_name for run in found]

    if numbered := newest(f"{pattern} (%)"):
        number = re.search(r" \((\d+)\)$", numbered[0])
        return f"{name} ({int(number.group(1)) + 1 if number else 2})"
    return f"{name} (2)" if newest(pattern) else name


def newest_experiment(client: MlflowClient) -> Experiment | None:
    """The experiment whose run began last; None where nothing has run."""
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(ids, max_results=1) if ids else []
    return client.get_experiment(found[0].info.experiment_id) if found else None


def page(experiment: Experiment) -> str:
    """The address of an experiment's runs within MLflow's UI, in the saved view if there is one."""
    view = VIEW if VIEW_TAG in experiment.tags else None
    return _page(experiment.experiment_id, view)


def _page(experiment: str, view: str | None) -> str:
    """Without the workflow's type the UI opens its pages for language models."""
    shown = f"&viewStateShareKey={view}" if view else ""
    return f"#/experiments/{experiment}/runs?workflowType=machine_learning{shown}"


def _note(experiment: str) -> str:
    return (
        "Linear regressions, one run each, recorded by Plumbline. "
        f"[The columns that matter]({_page(experiment, VIEW)}); "
        "on the terminal: `make compare`."
    )


def _view() -> str:
    """A saved view as the UI writes it: JSON in JSON."""
    columns = list(_columns())
    now = int(time.time() * 1000)
    state = json.dumps({"selectedColumns": columns, "columnOrder": columns})
    return json.dumps({"name": VIEW_NAME, "createdAt": now, "updatedAt": now, "state": state})


def _columns() -> Iterator[str]:
    for kind, names in (("metrics", METRICS), ("params", PARAMS), ("attributes", ("Description",))):
        yield from (f"{kind}.`{name}`" for name in names)
