"""The MLflow runs of a sweep: one parent, a nested run for each trial, and resuming them."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun

from plumbline.config.sweep import Sweep, label
from plumbline.data.files import find_files
from plumbline.errors import InputError
from plumbline.linear.compress import VERSION
from plumbline.training.experiment import Outcome
from plumbline.training.trained import STORED, Status
from tasks.artifacts import ProgressArtifact
from tasks.tracking.experiment import (
    NOTE_TAG,
    PRUNED_TAG,
    SWEEP_TAG,
    describe_sweep,
    description,
    experiment_id,
    leaves,
    source_tags,
    unused_name,
)
from tasks.tracking.run import FLOW_TAG, LEASE_TAG, NUMBER_TAG, Run
from tasks.tracking.store import as_store_error, open_store
from tasks.trials import Trial

PARENT_TAG = "mlflow.parentRunId"
VALUES_TAG = "plumbline.values"
RESUMED = ("KILLED", "FAILED")
HALF = {"status": "KILLED", "reason": "interrupted while it was recorded"}  # of a trial


class SweepRun:
    """A sweep's parent run, and the trials that it has.

    It is no dataclass, because Prefect looks for futures in every value of those.

    Attributes:
        sweep: the base and what varies.
        total: the number of its trials.
        run: the parent.
        tags: of every run of this process.
        trials: what is recorded, by number.
        best: the best of them with its model, which is stored at the end; None if there is none, or
            if an earlier process trained it.
        progress: the artifact in Prefect's UI that shows how many are recorded.
    """

    def __init__(
        self, sweep: Sweep, run: Run, tags: Mapping[str, str], trials: dict[int, Trial]
    ) -> None:
        self.sweep, self.total = sweep, sweep.trials  # counting a grid takes a while
        self.run, self.tags, self.trials = run, tags, trials
        self.best: Trial | None = None
        self.progress = ProgressArtifact("trials", f"Trials of {sweep.title}", self.total)

    @property
    def done(self) -> list[Trial]:
        """The trials that have a model, in the order of their numbers."""
        return [trial for _, trial in sorted(self.trials.items()) if not trial.outcome.error]

    @property
    def best_recorded(self) -> Trial | None:
        """The best of `trials`, the first one if several are equal; None if none has a result."""
        search = self.sweep.search
        sign = 1 if search.direction == "minimize" else -1
        return min(
            self.done,
            key=lambda trial: sign * trial.outcome.metrics[search.metric],
            default=None,
        )

    @contextmanager
    def recording(self, trial: Trial, note: str, status: str) -> Iterator[Run]:
        """A nested run for a trial that is over.

        Args:
            trial: the trial.
            note: the run's description.
            status: which the run has once all of the trial is recorded.
        """
        client, experiment = self.run.client, self.run.experiment_id
        tags = {
            **self.tags,
            NOTE_TAG: note,
            PARENT_TAG: self.run.id,
            NUMBER_TAG: str(trial.number),
            VALUES_TAG: json.dumps(trial.values),
        }
        run = Run.begin(client, experiment, label(trial.values), tags)
        with run.ending_on_error(HALF):
            yield run
        client.set_terminated(run.id, status)


@contextmanager
def tracked_sweep(sweep: Sweep, flow_run_id: str, lease: str) -> Iterator[SweepRun]:
    """Begin a sweep's parent run, or resume the one that was interrupted.

    It is resumed if nothing differs: what varies, the base, and the data's files.
    """
    with as_store_error("Run the same command again: it continues where it stopped."):
        client = open_store()
        experiment = experiment_id(client, str(sweep.base["experiment"]), sweep.search.metric)
        identity = fingerprint(sweep)
        tags = {LEASE_TAG: lease, FLOW_TAG: flow_run_id, **source_tags()}
        note = description("Running.", describe_sweep(sweep, flow_run_id))
        own, trials = tags | {SWEEP_TAG: identity, NOTE_TAG: note}, {}
        if found := _interrupted(client, experiment, identity):
            trials = _trials_to_keep(client, found, sweep.search.pruner != "none")
            run = Run.reopen(client, found, own)
        else:
            name = unused_name(client, experiment, sweep.title)
            run = Run.begin(client, experiment, name, own)
        with run.ending_accurately():
            run.log(params=leaves(sweep.search.model_dump(), "sweep"))
            yield SweepRun(sweep, run, tags, trials)


def _interrupted(client: MlflowClient, experiment: str, identity: str) -> MlflowRun | None:
    """The newest parent of this identity, if it did not finish."""
    wanted = f"tags.`{SWEEP_TAG}` = '{identity}'"
    newest = ["attributes.start_time DESC"]
    found = client.search_runs([experiment], wanted, order_by=newest, max_results=1)
    return found[0] if found and found[0].info.status in RESUMED else None


def _trials_to_keep(client: MlflowClient, parent: MlflowRun, compared: bool) -> dict[int, Trial]:
    """The trials that count; the others (half recorded, or to be tried again) are deleted.

    Trials that failed count if the sweep was interrupted. If it failed as a whole they are tried
    again: what made it fail may be fixed by now.
    """
    counts = ("FINISHED",) if parent.info.status == "FAILED" else ("FINISHED", "FAILED")
    wanted = f"tags.`{PARENT_TAG}` = '{parent.info.run_id}' AND tags.`{NUMBER_TAG}` IS NOT NULL"
    trials = {}
    for each in mlflow.search_runs([parent.info.experiment_id], wanted, output_format="list"):
        tags, number = each.data.tags, int(each.data.tags[NUMBER_TAG])
        if each.info.status in counts:
            values, run = json.loads(tags[VALUES_TAG]), Run(client, each)
            reason = tags.get("reason", "")
            failed = Status.PRUNED if PRUNED_TAG in tags else Status.FAILED
            curve = client.get_metric_history(run.id, "validation_loss") if compared else ()
            losses = [each.value for each in sorted(curve, key=lambda each: each.step)]
            status, curves = failed if reason else Status.COMPLETED, {"validation_loss": losses}
            outcome = Outcome(status, curves, metrics=_measured(each), error=reason)
            trials[number] = Trial(number, values, outcome, run=run)
        else:
            client.delete_run(each.info.run_id)
    return trials


def _measured(trial: MlflowRun) -> dict[str, float]:
    """The metrics of a recorded trial, without those of epochs and without predictions."""
    others = (*STORED, "prediction_", "probability_")
    return {name: v for name, v in trial.data.metrics.items() if not name.startswith(others)}


def fingerprint(sweep: Sweep) -> str:
    """What a sweep's results depend on, as one word: its keys, its files, the code of a user's own
    module, and who searches."""
    varied, files = sweep.search.parameters, []
    data, model = (sweep.base.get(name) or {} for name in ("data", "model"))
    for path in (data.get("path"), *varied.get("data.path", ())):
        with suppress(InputError):  # its trials will say so
            files += map(asdict, find_files(path) if path else ())
    models = (model, *(each or {} for each in varied.get("model", ())))
    for path in (*(each.get("file") for each in models), *varied.get("model.file", ())):
        with suppress(OSError):
            files += [Path(path).read_bytes().decode(errors="replace")] if path else ()
    parts = [VERSION, version("optuna"), sweep.model_dump(mode="json"), files]
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
