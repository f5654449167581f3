"""The MLflow runs of a sweep: one parent, a nested run for each trial, and resuming them."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import version
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun

from plumbline.config.sweep import Range, Sweep, Values, label
from plumbline.data.files import DataFile, find_files
from plumbline.errors import InputError
from plumbline.linear.compress import VERSION
from tasks.search import Proposal
from tasks.tracking.experiment import (
    NOTE_TAG,
    SWEEP_TAG,
    description,
    experiment_id,
    unused_name,
    what_a_sweep_is,
)
from tasks.tracking.run import (
    LEASE_TAG,
    LONGEST_VALUE,
    Run,
    begin_run,
    end_or_record_exit,
    ending_accurately,
    git_state,
    leaves,
    open_store,
    silence_libraries,
)
from tasks.tracking.store import FAILURES, as_store_error, disable_retries

PARENT_TAG = "mlflow.parentRunId"
NUMBER_TAG = "plumbline.trial"
VALUES_TAG = "plumbline.values"
RESUMED = ("KILLED", "FAILED")


@dataclass(frozen=True)
class RecordedTrial:
    """A trial that is in the store.

    Attributes:
        number: of the trial, from 1.
        values: what it varied.
        run_id: its run.
        metrics: by name; empty where it failed.
        reason: why it failed; empty where it did not.
    """

    number: int
    values: Values
    run_id: str
    metrics: Mapping[str, float]
    reason: str


class SweepRun:
    """A sweep's parent run, and the trials that it has.

    Attributes:
        run: the parent.
        trials: what is recorded, by number.
    """

    def __init__(self, run: Run, trials: dict[int, RecordedTrial], tags: Mapping[str, str]) -> None:
        self.run, self.trials, self._tags = run, trials, tags

    @property
    def flow_run_id(self) -> str:
        """Prefect's id of the flow run."""
        return self._tags["prefect_flow_run_id"]

    @contextmanager
    def recording(self, proposal: Proposal, note: str, reason: str) -> Iterator[Run]:
        """A nested run for a trial that is over: FINISHED, or FAILED where there is a reason.

        Args:
            proposal: its number and values.
            note: the run's description.
            reason: why it failed.
        """
        client, parent = self.run.client, self.run
        tags = {
            **self._tags,
            NOTE_TAG: note,
            **({"reason": reason[:LONGEST_VALUE]} if reason else {}),
            PARENT_TAG: parent.id,
            NUMBER_TAG: str(proposal.number),
            VALUES_TAG: json.dumps(proposal.values),
        }
        name = label(proposal.values)
        run = begin_run(client, parent.experiment_id, name, tags, (LEASE_TAG, NUMBER_TAG))
        try:
            yield run
        except BaseException as error:
            if isinstance(error, FAILURES):
                disable_retries()
            end_or_record_exit(run, "KILLED", "interrupted while it was recorded")
            raise
        client.set_terminated(run.id, "FAILED" if reason else "FINISHED")

    def run_of(self, trial: RecordedTrial) -> Run:
        """A recorded trial's run."""
        name = label(trial.values)
        return Run(self.run.client, trial.run_id, name, self.run.experiment_id)


@contextmanager
def tracked_sweep(sweep: Sweep, flow_run_id: str, lease: str) -> Iterator[SweepRun]:
    """Begin a sweep's parent run, or resume the one that was interrupted.

    It is resumed if nothing differs: what varies, the base, and the data's files.
    """
    silence_libraries()
    with as_store_error("Run the same command again: it goes on where it stopped."):
        client = open_store()
        tags = {LEASE_TAG: lease, "prefect_flow_run_id": flow_run_id, **git_state()}
        identity = fingerprint(sweep)
        experiment = experiment_id(client, str(sweep.base["experiment"]))
        note = description("Running.", what_a_sweep_is(sweep, flow_run_id))
        found = _interrupted(client, experiment, identity)
        if found is None:
            name = unused_name(client, experiment, sweep.title)
            own = {SWEEP_TAG: identity, NOTE_TAG: note}
            run = begin_run(client, experiment, name, tags | own)
            trials = {}
        else:
            run = Run(client, found.info.run_id, found.info.run_name, experiment)
            trials = _trials_to_keep(client, found)
            client.update_run(run.id, status="RUNNING")
            run.log(tags=tags | {NOTE_TAG: note})
        with ending_accurately(run):
            run.log(params=leaves(sweep.search.model_dump(), "sweep"))
            yield SweepRun(run, trials, tags)


def _interrupted(client: MlflowClient, experiment: str, identity: str) -> MlflowRun | None:
    """The newest parent of this identity, where it did not finish."""
    found = client.search_runs(
        [experiment],
        f"tags.`{SWEEP_TAG}` = '{identity}'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    return found[0] if found and found[0].info.status in RESUMED else None


def _trials_to_keep(client: MlflowClient, parent: MlflowRun) -> dict[int, RecordedTrial]:
    """The trials that count; the others (half recorded, or to be tried again) are deleted.

    Trials that failed count where the sweep was interrupted. Where it failed as a whole they are
    tried again: what made it fail may be mended.
    """
    counts = ("FINISHED",) if parent.info.status == "FAILED" else ("FINISHED", "FAILED")
    trials = {}
    for run in children(parent):
        recorded = _recorded(run)
        if run.info.status in counts and recorded.number not in trials:
            trials[recorded.number] = recorded
        else:
            client.delete_run(run.info.run_id)
    return trials


def children(parent: MlflowRun) -> list[MlflowRun]:
    """The nested runs of a run, the oldest first."""
    wanted = f"tags.`{PARENT_TAG}` = '{parent.info.run_id}'"
    return mlflow.search_runs(
        [parent.info.experiment_id],
        wanted,
        order_by=["attributes.start_time ASC"],
        output_format="list",
    )


def _recorded(run: MlflowRun) -> RecordedTrial:
    tags = run.data.tags
    values = json.loads(tags[VALUES_TAG])
    failed = run.info.status == "FAILED"
    metrics = {} if failed else run.data.metrics
    reason = tags.get("reason", "unknown") if failed else ""
    return RecordedTrial(int(tags[NUMBER_TAG]), values, run.info.run_id, metrics, reason)


def fingerprint(sweep: Sweep) -> str:
    """What a sweep's results depend on, as one word: its keys, its files, and who searches."""
    data = sweep.base.get("data") or {}
    paths = [data.get("path"), *_listed(sweep.search.parameters.get("data.path"))]
    files = [asdict(file) for path in paths if path for file in _found(path)]
    parts = [VERSION, version("optuna"), sweep.model_dump(mode="json"), files]
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _listed(given: Range | list[Any] | None) -> list[Any]:
    return given if isinstance(given, list) else []


def _found(path: str) -> tuple[DataFile, ...]:
    try:
        return find_files(path)
    except InputError:
        return ()  # its trials will say so
