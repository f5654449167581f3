"""One MLflow run from its beginning to a status that is true."""

import json
import logging
import math
import os
import re
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException

from regression.config import Config
from tasks.lease import exclusive
from tasks.tracking.losses import BATCH, LossLog

LEASE_TAG = "plumbline.lease"
MODEL_PARAM = "registry.model"
LONGEST_NAME = 250  # of a metric
LONGEST_VALUE = 5_000  # of a param or tag; MLflow takes 6,000 and 8,000
DIGEST_LENGTH = 36  # of an MLflow dataset's digest; the whole one is the tag data_digest


class Run:
    """A run under way. All calls name it, so threads may share it.

    Attributes:
        id: MLflow's id of the run.
        name: its name in the UI.
        experiment_id: MLflow's id of its experiment.
        losses: where the loss of every epoch goes.
    """

    def __init__(self, client: MlflowClient, run_id: str, name: str, experiment_id: str) -> None:
        self.client, self.id, self.name = client, run_id, name
        self.experiment_id = experiment_id
        self.losses = LossLog(lambda batch: client.log_batch(run_id, metrics=batch))

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Log final values; those that are no finite number are left out.

        Characters that MLflow does not take in a name are replaced, and long names are cut.
        """
        now = int(time.time() * 1000)
        named = {_metric_name(key): value for key, value in metrics.items()}
        values = [Metric(k, v, now, 0) for k, v in named.items() if math.isfinite(v)]
        for first in range(0, len(values), BATCH):
            self.client.log_batch(self.id, metrics=values[first : first + BATCH])

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Set tags, in one call."""
        values = [RunTag(k, str(v)[:LONGEST_VALUE]) for k, v in tags.items()]
        self.client.log_batch(self.id, tags=values)

    def log_dataset(
        self, name: str, digest: str, source: str, schema: list[str], rows: int
    ) -> None:
        """Log what the run was trained on as its dataset input."""
        columns = [{"type": "double", "name": column, "required": True} for column in schema]
        dataset = Dataset(
            name=name,
            digest=digest[:DIGEST_LENGTH],
            source_type="local",
            source=json.dumps({"uri": source}),
            schema=json.dumps({"mlflow_colspec": columns}),
            profile=json.dumps({"num_rows": rows, "sha256": digest}),
        )
        self.client.log_inputs(
            self.id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])]
        )

    def log_table(self, name: str, columns: Mapping[str, list]) -> None:
        """Log columns of one length as an artifact that MLflow shows as a table."""
        self.client.log_table(self.id, dict(columns), name)

    def log_folder(self, folder: Path) -> None:
        """Log every file of a folder as an artifact of the same name."""
        self.client.log_artifacts(self.id, str(folder))


@contextmanager
def tracked_run(config: Config, device: str, flow_run_id: str, lease: str) -> Iterator[Run]:
    """Begin a run with its params and tags; end it with a true status, whatever happens.

    FINISHED; FAILED with the tag `reason` for an exception; KILLED for an interruption. Losses
    logged so far are sent first in all cases.
    """
    quiet()
    client = open_store()
    tags = {LEASE_TAG: lease, "prefect_flow_run_id": flow_run_id, **git_state()}
    begun = client.create_run(_experiment(client, config.experiment), tags=tags)
    run = Run(client, begun.info.run_id, begun.info.run_name, begun.info.experiment_id)
    try:
        client.log_batch(run.id, params=_params(config, device))
        with run.losses:
            yield run
    except Exception as error:
        _end(run, "FAILED", f"{type(error).__name__}: {error}")
        raise
    except BaseException:
        _end(run, "KILLED", "interrupted")
        raise
    _end(run, "FINISHED")


def open_store() -> MlflowClient:
    """A client of the store, whose tables exist from here on."""
    with exclusive("mlflow"):  # two processes that make the tables at once would collide
        client = MlflowClient()
        client.search_experiments(max_results=1)
        store = os.environ.get("MLFLOW_TRACKING_URI", "")
        if store.startswith("sqlite:///"):  # the UI may read while a run writes
            with closing(sqlite3.connect(store.removeprefix("sqlite:///"), timeout=20)) as database:
                database.execute("PRAGMA journal_mode=WAL")
    return client


def kill_runs(lease: str, reason: str) -> set[str]:
    """Give the running runs of a dead process the status KILLED.

    Returns:
        The registered models that its runs were to add a version to.
    """
    quiet()
    client = MlflowClient()
    experiments = [e.experiment_id for e in client.search_experiments(ViewType.ALL)]
    found = client.search_runs(experiments, f"tags.`{LEASE_TAG}` = '{lease}'")
    for run in found:
        if run.info.status == "RUNNING":
            client.set_tag(run.info.run_id, "reason", reason)
            client.set_terminated(run.info.run_id, "KILLED")
    return {run.data.params[MODEL_PARAM] for run in found if MODEL_PARAM in run.data.params}


def quiet() -> None:
    """Keep the libraries' progress, migration notes and their tracebacks off the screen."""
    for name in ("alembic", "mlflow", "sqlalchemy", "torch.export"):
        logging.getLogger(name).setLevel(logging.ERROR)


def git_state() -> dict[str, str]:
    """The commit that ran, and whether files differed from it; unknown outside a checkout."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain")
    dirty = "unknown" if changes is None else str(bool(changes)).lower()
    return {"git_commit": commit or "unknown", "git_dirty": dirty}


def _metric_name(key: str) -> str:
    return re.sub(r"[^\w\-. :/]", "_", key)[:LONGEST_NAME]


def _experiment(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found:
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return found.experiment_id
    try:
        return client.create_experiment(name)
    except MlflowException:  # another process was faster
        return client.get_experiment_by_name(name).experiment_id


def _params(config: Config, device: str) -> list[Param]:
    leaves = dict(_leaves(config.model_dump(), ""))
    return [Param(key, value) for key, value in {**leaves, "device": device}.items()]


def _leaves(value: object, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key else name)
        return
    text = value if isinstance(value, str) else json.dumps(value)
    if len(text) > LONGEST_VALUE:
        text = text[:LONGEST_VALUE] + " ... (whole in config.yaml)"
    yield key, text


def _end(run: Run, status: str, reason: str = "") -> None:
    if reason:
        run.set_tags({"reason": reason})
    run.client.set_terminated(run.id, status)
