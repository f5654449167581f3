"""One MLflow run from its beginning to a status that is true."""

import json
import logging
import math
import re
import sqlite3
import subprocess
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import MappingProxyType

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType

from plumbline.config.schema import Config
from tasks.lease import exclusive, record_exit
from tasks.tracking.experiment import (
    LONGEST_VALUE,
    NOTE_TAG,
    description,
    experiment_id,
    how_it_ended,
    params_of,
    unused_name,
    what_it_is,
)
from tasks.tracking.losses import BATCH, LossLog
from tasks.tracking.relocation import relocate
from tasks.tracking.store import (
    FAILURES,
    LOCK_SECONDS,
    as_store_error,
    database,
    disable_retries,
    server,
    still_there,
)

ROOT = Path(__file__).resolve().parents[2]
LOCAL_UI = "http://127.0.0.1:5000"
LEASE_TAG = "plumbline.lease"
MODEL_PARAM = "registry.model"
LONGEST_NAME = 250  # of a metric
GENERATED = {"mlflow.source.name": "generated rows"}  # a data set's source that is no file
DIGEST_LENGTH = 36  # of an MLflow dataset's digest; the whole one is the tag data_digest


class Run:
    """A run under way. All calls name it, so threads may share it.

    Attributes:
        id: MLflow's id of the run.
        name: its name in the UI.
        experiment_id: MLflow's id of its experiment.
        losses: where the loss of every epoch goes.
        known: metrics that the store has already, of a run that is taken up.
    """

    def __init__(self, client: MlflowClient, run_id: str, name: str, experiment_id: str) -> None:
        self.client, self.id, self.name = client, run_id, name
        self.experiment_id = experiment_id
        self.losses = LossLog(lambda batch: client.log_batch(run_id, metrics=batch))
        self.known: frozenset[str] = frozenset()

    @property
    def page(self) -> str:
        """Where MLflow's UI shows it: on the tracking server, or where `make ui` opens one."""
        return f"{server() or LOCAL_UI}/#/experiments/{self.experiment_id}/runs/{self.id}"

    def log(
        self,
        metrics: Mapping[str, float] = MappingProxyType({}),
        tags: Mapping[str, object] = MappingProxyType({}),
        params: Mapping[str, str] = MappingProxyType({}),
        links: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Log final values, tags and params; in one call, because each costs a transaction.

        The links say what the metrics are of: model_id, dataset_name and dataset_digest.

        Metrics that are no finite number are left out; characters that MLflow does not take in
        their names are replaced, and long names are cut. A param that is there already must have
        the same value.
        """
        now = int(time.time() * 1000)
        named = {_metric_name(key): value for key, value in metrics.items()}
        named = {key: value for key, value in named.items() if key not in self.known}
        values = [Metric(k, v, now, 0, **links) for k, v in named.items() if math.isfinite(v)]
        most = BATCH - len(tags) - len(params)
        self.client.log_batch(
            self.id,
            metrics=values[:most],
            params=[Param(key, value) for key, value in params.items()],
            tags=[
                RunTag(_metric_name(key), str(value)[:LONGEST_VALUE]) for key, value in tags.items()
            ],
        )
        self._log(values[most:])

    def log_curve(self, name: str, values: Sequence[float], known: Container[int] = ()) -> None:
        """Log a metric of every epoch at once when training is over, less epochs that are known."""
        now = int(time.time() * 1000)
        missing = ((epoch, value) for epoch, value in enumerate(values, 1) if epoch not in known)
        self._log([Metric(name, value, now, epoch) for epoch, value in missing])

    def _log(self, metrics: Sequence[Metric]) -> None:
        for first in range(0, len(metrics), BATCH):
            self.client.log_batch(self.id, metrics=metrics[first : first + BATCH])

    def log_dataset(
        self, name: str, digest: str, path: str | None, types: Mapping[str, str], rows: int
    ) -> dict[str, str]:
        """Log what the run was trained on as its dataset input; returns what links metrics to it.

        Args:
            name: of the data set.
            digest: SHA-256 of the data, in hexadecimal.
            path: of its files, local or a URI; None for generated rows.
            types: MLflow's type of each column, the target's included.
            rows: how many there are.
        """
        columns = [{"type": t, "name": column, "required": True} for column, t in types.items()]
        scheme, remote, _ = (path or "").partition("://")
        dataset = Dataset(
            name=name,
            digest=digest[:DIGEST_LENGTH],
            source_type=scheme if remote and scheme != "file" else "local" if path else "code",
            source=json.dumps({"uri": path} if path else {"tags": GENERATED}),
            schema=json.dumps({"mlflow_colspec": columns}),
            profile=json.dumps({"num_rows": rows, "sha256": digest}),
        )
        self.client.log_inputs(
            self.id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])]
        )
        return {"dataset_name": dataset.name, "dataset_digest": dataset.digest}

    def log_table(self, name: str, columns: Mapping[str, list]) -> None:
        """Log columns of one length as an artifact that MLflow shows as a table."""
        self.client.log_table(self.id, dict(columns), name)

    def log_folder(self, folder: Path) -> None:
        """Log every file of a folder as an artifact of the same name."""
        self.client.log_artifacts(self.id, str(folder))

    def end(self, status: str, reason: str = "") -> None:
        """Set the final status, the description and, where there is one, the tag `reason`."""
        end_run(self.client, self.id, status, reason)


@contextmanager
def tracked_run(
    config: Config, name: str, device: str, flow_run_id: str, lease: str
) -> Iterator[Run]:
    """Begin a run with its params and tags; end it with a true status, whatever happens.

    FINISHED; FAILED with the tag `reason` for an exception; KILLED for an interruption. Losses
    logged so far are sent first in all cases. The description says how it ended and what it was.

    Args:
        name: what the run is called; a number is added where the experiment has that name already.
    """
    silence_libraries()
    with as_store_error():
        client = open_store()
        experiment = experiment_id(client, config.experiment)
        note = description("Running.", what_it_is(config, device, flow_run_id))
        tags = {LEASE_TAG: lease, "prefect_flow_run_id": flow_run_id, NOTE_TAG: note, **git_state()}
        run = begin_run(client, experiment, unused_name(client, experiment, name), tags)
        with ending_accurately(run):
            run.log(params=params_of(config, device))
            with run.losses:
                yield run


def begin_run(
    client: MlflowClient,
    experiment: str,
    name: str,
    tags: Mapping[str, str],
    only: Sequence[str] = (LEASE_TAG,),
) -> Run:
    """Begin a run; only: the tags that tell it from all others.

    Where a server's answer is lost the client asks again, and the server begins a second run: that
    one is deleted.
    """
    info = client.create_run(experiment, tags=dict(tags), run_name=name).info
    if server():
        wanted = " and ".join(f"tags.`{tag}` = '{tags[tag]}'" for tag in only)
        for other in client.search_runs([experiment], wanted):
            if other.info.run_id != info.run_id:
                client.delete_run(other.info.run_id)
    return Run(client, info.run_id, info.run_name, experiment)


@contextmanager
def ending_accurately(run: Run) -> Iterator[None]:
    """Give a run the status that says how the body ended.

    Raises:
        StoreError: the store was deleted meanwhile.
    """
    try:
        with still_there():
            yield
            run.end("FINISHED")
    except Exception as error:
        if isinstance(error, FAILURES):
            disable_retries()
        end_or_record_exit(run, "FAILED", f"{type(error).__name__}: {error}")
        raise
    except BaseException:
        end_or_record_exit(run, "KILLED", "interrupted")
        raise


def end_or_record_exit(run: Run, status: str, reason: str) -> None:
    """End a run that did not end well; if its store is away, reconciling its lease will."""
    try:
        run.end(status, reason)
    except FAILURES:
        record_exit(status, reason)


def open_store() -> MlflowClient:
    """A client of the store, whose tables exist from here on."""
    with exclusive(
        "mlflow", of_store=True
    ):  # two processes that make the tables at once would collide
        client = MlflowClient()
        client.search_experiments(max_results=1)
        relocate()
        if path := database():  # the UI may read while a run writes
            with closing(sqlite3.connect(path, timeout=LOCK_SECONDS)) as opened:
                opened.execute("PRAGMA journal_mode=WAL")
    return client


def end_runs(lease: str, status: str, reason: str) -> set[str]:
    """Give the running runs of a dead process a status.

    Returns:
        The registered models that its runs were to add a version to.
    """
    silence_libraries()
    client = MlflowClient()
    experiments = [e.experiment_id for e in client.search_experiments(ViewType.ALL)]
    found = client.search_runs(experiments, f"tags.`{LEASE_TAG}` = '{lease}'")
    for run in found:
        if run.info.status == "RUNNING":
            end_run(client, run.info.run_id, status, reason)
    return {run.data.params[MODEL_PARAM] for run in found if MODEL_PARAM in run.data.params}


def silence_libraries() -> None:
    """Keep the libraries' progress, migration notes and their tracebacks off the screen."""
    for name in ("alembic", "mlflow", "sqlalchemy", "torch.export"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # errors are raised, too


def git_state() -> dict[str, str]:
    """The project's commit, and whether its files differ from it; unknown outside a checkout."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain")
    dirty = "unknown" if changes is None else str(bool(changes)).lower()
    return {"git_commit": commit or "unknown", "git_dirty": dirty}


def _metric_name(key: str) -> str:
    return re.sub(r"[^\w\-. :/]", "_", key)[:LONGEST_NAME]


def end_run(client: MlflowClient, run_id: str, status: str, reason: str = "") -> None:
    """Give a run its status, last of all, after the reason and the description."""
    data = client.get_run(run_id).data
    ending = how_it_ended(status, reason, data.metrics, data.tags.get("epochs_run", ""))
    _, _, what = data.tags.get(NOTE_TAG, "").partition("\n\n")
    tags = {NOTE_TAG: description(ending, what)} | ({"reason": reason} if reason else {})
    client.log_batch(run_id, tags=[RunTag(k, v[:LONGEST_VALUE]) for k, v in tags.items()])
    client.set_terminated(run_id, status)
