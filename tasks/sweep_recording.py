"""Records a sweep in MLflow: each finished trial in a nested run, the best one in the parent."""

import csv
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from prefect import task

from plumbline.config.sweep import Sweep, Values, label
from plumbline.errors import AllTrialsFailedError
from plumbline.training.experiment import Outcome
from plumbline.training.trained import Status
from tasks.artifacts import ProgressArtifact, publish
from tasks.pictures.shown import draw_beside
from tasks.recording import log_files, log_model_file, log_results
from tasks.tracking.experiment import (
    PRUNED_TAG,
    describe_ending,
    describe_run,
    description,
    leaves,
    params_of,
)
from tasks.tracking.run import FLOW_TAG
from tasks.tracking.sweep import RecordedTrial, SweepRun
from tasks.trials import Trial


class SweepRecorder:
    """Records the trials of a sweep one after another, so that the store has a single writer.

    Attributes:
        sweep: the base and what varies.
        tracked: the parent run and its trials.
        best: the best trial so far, whose model will be stored at the end; None if there is none.
    """

    def __init__(self, sweep: Sweep, tracked: SweepRun) -> None:
        self.sweep, self.tracked, self.best = sweep, tracked, None
        self._total = sweep.trials  # counting a grid takes a while
        self._progress = ProgressArtifact("trials", f"Trials of {sweep.title}", self._total)

    @property
    def known(self) -> dict[int, Outcome]:
        """The outcome of each recorded trial, by number."""
        return {number: trial.outcome for number, trial in self.tracked.trials.items()}

    @property
    def again(self) -> int | None:
        """The number of the best recorded trial, which must be trained again because its model is
        not stored; None if there is none."""
        best = self.best_recorded()
        return best and best.number

    def add(self, trial: Trial) -> None:
        """Record a finished trial, unless it was only trained again for its model."""
        if trial.number not in self.tracked.trials:
            self.tracked.trials[trial.number] = self._record(trial)
            self._print(self.tracked.trials[trial.number])
            self._progress.show(len(self.tracked.trials))
        if self.best_recorded() is self.tracked.trials[trial.number]:
            self.best = trial

    def best_recorded(self) -> RecordedTrial | None:
        """The best trial, the first one if several are equal; None if no trial has a result."""
        search = self.sweep.search
        sign = 1 if search.direction == "minimize" else -1
        return min(
            self.tracked.done,
            key=lambda trial: (sign * trial.outcome.metrics[search.metric], trial.number),
            default=None,
        )

    def _record(self, trial: Trial) -> RecordedTrial:
        """Log a trial's params, losses, metrics and files, or why it failed."""
        number, values, outcome, params = trial.number, trial.values, trial.outcome, _params(trial)
        pruned = outcome.status is Status.PRUNED
        status = "FINISHED" if pruned or not outcome.error else "FAILED"
        with self.tracked.recording(number, values, _note(trial, self.tracked), status) as run:
            for name, curve in outcome.curves.items():
                run.log_curve(name, curve)
            if outcome.error:
                tags = {PRUNED_TAG: len(outcome.losses)} if pruned else {}
                run.log(params=params, tags={**tags, "reason": outcome.error})
            else:
                log_model_file(run, trial.config)
                log_results(run, trial.result, params)
                log_files(run, trial.result, self.sweep.search.keep_models == "all")
        without_model = replace(outcome, trained=None, predictions=())
        return RecordedTrial(number, values, run, without_model)

    def _print(self, trial: RecordedTrial) -> None:
        metric, outcome = self.sweep.search.metric, trial.outcome
        why = f"{'pruned: ' if outcome.status is Status.PRUNED else ''}{outcome.error}"
        result = why or f"{metric} {outcome.metrics[metric]:.6g}"
        best = " (the best so far)" if self.best_recorded() is trial else ""
        place = f"[{trial.number:{len(str(self._total))}}/{self._total}]"
        print(f"Trial {place}, {label(trial.values)}: {result}{best}", flush=True)


def _note(trial: Trial, tracked: SweepRun) -> str:
    """The description of a trial's run."""
    outcome, flow_run_id = trial.outcome, tracked.tags[FLOW_TAG]
    status = outcome.status.upper() if outcome.error else "FINISHED"
    metrics = {"loss": outcome.losses[-1]} if outcome.error and outcome.losses else outcome.metrics
    ending = describe_ending(status, outcome.error, metrics, str(len(outcome.losses)))
    made = trial.config and describe_run(trial.config, trial.device, flow_run_id)
    return description(
        ending, made or f"A trial of '{tracked.run.name}' with a wrong configuration."
    )


@task
def conclude(recorder: SweepRecorder) -> None:
    """Store the best model; log its params and metrics, a table and plots to the parent run.

    Raises:
        AllTrialsFailedError: no trial has a result.
    """
    sweep, tracked, best = recorder.sweep, recorder.tracked, recorder.best_recorded()
    if best is None:
        first = tracked.trials[min(tracked.trials)]
        raise AllTrialsFailedError(
            f"all {len(tracked.trials)} trials failed; the first: {first.outcome.error}. "
            "Correct sweep.parameters or the other keys, and run the same command again."
        )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "plots").mkdir()
        with draw_beside("sweep", _shown(sweep, tracked.done, best), folder / "plots"):
            if sweep.search.keep_models == "best":
                log_files(best.run, recorder.best.result)
            tags = {"best_trial": best.number, "best_run_id": best.run.id}
            tracked.run.log(best.outcome.metrics, tags, _params(recorder.best))
            _write_table(sweep, tracked.trials, folder / "trials.csv")
        tracked.run.client.log_artifacts(tracked.run.id, str(folder))
    publish(tracked.run, f"The best of {len(tracked.trials)} trials", best.outcome.metrics)


def _shown(sweep: Sweep, done: Sequence[RecordedTrial], best: RecordedTrial) -> dict:
    """The data for the plots of the metric against what varied, as `draw_sweep` takes it."""
    return {
        "metric": sweep.search.metric,
        "reached": [trial.outcome.metrics[sweep.search.metric] for trial in done],
        "best": done.index(best),
        "values": {key: [trial.values[key] for trial in done] for key in sweep.search.parameters},
    }


def _write_table(sweep: Sweep, trials: Mapping[int, RecordedTrial], path: Path) -> None:
    """Write a row for each trial: what varied, the metrics (the sweep's first), why it failed."""
    metric, varied = sweep.search.metric, list(sweep.search.parameters)
    others = {name for trial in trials.values() for name in trial.outcome.metrics}
    others -= {metric, "loss"}
    columns = ["trial", *varied, metric, *sorted(others), "reason", "run_id"]
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
        table.writeheader()
        for number, trial in sorted(trials.items()):
            what = {"trial": number, "reason": trial.outcome.error, "run_id": trial.run.id}
            table.writerow({**trial.outcome.metrics, **_as_text(trial.values), **what})


def _as_text(values: Values) -> dict[str, str]:
    return {key: text for key, value in values.items() for text in leaves(value, key).values()}


def _params(trial: Trial) -> dict[str, str]:
    """The params of a trial's run; only what varied if the configuration is wrong."""
    return params_of(trial.config, trial.device) if trial.config else _as_text(trial.values)
