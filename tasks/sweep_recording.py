"""What MLflow keeps of a sweep: each trial when it is over, and the whole in the parent."""

import csv
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path

from prefect import task

from plumbline.config.sweep import Sweep, label
from plumbline.data.inputs import of_target
from plumbline.errors import AllTrialsFailedError
from plumbline.threads import one_thread
from plumbline.training.device import device_of
from plumbline.training.experiment import attempt
from tasks.artifacts import ProgressArtifact, publish
from tasks.pictures import drawing_sweep
from tasks.recording import log_model_file, log_results, pictures, store_model, write_files
from tasks.screen import print_trial
from tasks.search import Proposal
from tasks.shared_data import SharedData
from tasks.tracking.experiment import description, how_it_ended, what_it_is
from tasks.tracking.run import Run, leaves, params_of
from tasks.tracking.sweep import RecordedTrial, SweepRun
from tasks.trials import Trial


class SweepRecorder:
    """Records the trials of a sweep one after another: a single writer, whatever the store.

    Attributes:
        tracked: the parent run and its trials.
        best: the best trial so far, where this process ran it: its model waits to be stored.
    """

    def __init__(self, sweep: Sweep, tracked: SweepRun, data: SharedData) -> None:
        self.sweep, self.tracked, self.data = sweep, tracked, data
        self.best: Trial | None = None
        self._total = sweep.trials  # of a grid, counted through
        self._progress = ProgressArtifact("trials", f"Trials of {sweep.title}", self._total)

    def add(self, trial: Trial) -> None:
        """Record a trial that is over: params, losses, metrics and files, or why it failed."""
        proposal, outcome = trial.proposal, trial.outcome
        metrics = dict(outcome.metrics or {})
        with self.tracked.recording(proposal, _note(trial, self.tracked), outcome.error) as run:
            for name, values in outcome.curves.items():
                run.log_curve(name, values)
            if outcome.failed:
                run.log(params=_params(trial))
            else:
                self._log(run, trial)
        recorded = RecordedTrial(proposal.number, proposal.values, run.id, metrics, outcome.error)
        self.tracked.trials[proposal.number] = recorded
        self._print(trial, recorded)
        self._progress.show(len(self.tracked.trials))

    def _log(self, run: Run, trial: Trial) -> None:
        log_model_file(run, trial.config)
        log_results(run, trial.result, _params(trial))
        with tempfile.TemporaryDirectory() as scratch:
            write_files(Path(scratch), trial.result)
            run.log_folder(Path(scratch))
        if self.sweep.search.keep_models == "all":
            log_model_of(run, trial)

    def _print(self, trial: Trial, recorded: RecordedTrial) -> None:
        metric = self.sweep.search.metric
        result = recorded.reason or f"{metric} {recorded.metrics[metric]:.6g}"
        if best_of(self.sweep, self.tracked) is recorded:
            self.best, result = trial, f"{result} (the best so far)"
        print_trial(recorded.number, self._total, label(recorded.values), result)

    def best_trial(self) -> Trial:
        """The best trial with its model; trained again where an interrupted command trained it."""
        best = best_of(self.sweep, self.tracked)
        if self.best is None or self.best.proposal.number != best.number:
            config = self.sweep.trial(best.values)
            device = device_of(config)
            data = self.data.of(config, device)
            config = of_target(config, bool(data.encoding.classes))
            with one_thread():  # as the process that trained it first
                outcome = attempt(config, data, device)
            self.best = Trial(Proposal(best.number, best.values), outcome, config, data, device)
        return self.best


def _note(trial: Trial, tracked: SweepRun) -> str:
    """The description of a trial's run: how it ended, and what it was."""
    outcome = trial.outcome
    status = "FAILED" if outcome.failed else "FINISHED"
    losses = {"loss": outcome.losses[-1]} if outcome.losses else {}
    metrics = losses | (outcome.metrics or {})
    ending = how_it_ended(status, outcome.error, metrics, str(len(outcome.losses)))
    made = trial.config and what_it_is(trial.config, trial.device, tracked.flow_run_id)
    return description(ending, made or f"A trial of '{tracked.run.name}' that is no experiment.")


def log_model_of(run: Run, trial: Trial) -> None:
    """Store a trial's model and pictures in its run."""
    with tempfile.TemporaryDirectory() as scratch:
        with pictures(Path(scratch), trial.result):
            store_model(run, trial.result)
        run.log_folder(Path(scratch))


@task
def conclude(recorder: SweepRecorder) -> None:
    """Store the best model; put the best params and metrics, a table and pictures in the parent.

    Raises:
        AllTrialsFailedError: no trial has a result.
    """
    sweep, tracked = recorder.sweep, recorder.tracked
    best = best_of(sweep, tracked)
    if best is None:
        first = tracked.trials[min(tracked.trials)]
        raise AllTrialsFailedError(
            f"all {len(tracked.trials)} trials failed; the first: {first.reason}. "
            "Mend what varies, or the base, and run the same command again."
        )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "plots").mkdir()
        with _pictures(sweep, tracked, best, folder / "plots"):
            trial = recorder.best_trial()
            if sweep.search.keep_models == "best":
                log_model_of(tracked.run_of(best), trial)
            tags = {"best_trial": best.number, "best_run_id": best.run_id}
            tracked.run.log(best.metrics, tags, _params(trial))
            _write_table(sweep, tracked, folder / "trials.csv")
        tracked.run.log_folder(folder)
    publish(tracked.run, f"The best of {len(tracked.trials)} trials", best.metrics)


def best_of(sweep: Sweep, tracked: SweepRun) -> RecordedTrial | None:
    """The best trial, the first of several; None while none has a result."""
    search = sweep.search
    sign = 1 if search.direction == "minimize" else -1
    return min(
        _done(tracked),
        key=lambda trial: (sign * trial.metrics[search.metric], trial.number),
        default=None,
    )


def _done(tracked: SweepRun) -> list[RecordedTrial]:
    return [tracked.trials[n] for n in sorted(tracked.trials) if not tracked.trials[n].reason]


def _pictures(
    sweep: Sweep, tracked: SweepRun, best: RecordedTrial, folder: Path
) -> AbstractContextManager[None]:
    done = _done(tracked)
    what = {
        "metric": sweep.search.metric,
        "reached": [trial.metrics[sweep.search.metric] for trial in done],
        "best": done.index(best),
        "values": {k: [trial.values[k] for trial in done] for k in sweep.search.parameters},
    }
    return drawing_sweep(what, folder)


def _write_table(sweep: Sweep, tracked: SweepRun, path: Path) -> None:
    """A line a trial: what varied, the sweep's metric, the other metrics, why it failed."""
    trials = [tracked.trials[number] for number in sorted(tracked.trials)]
    others = {name for trial in trials for name in trial.metrics} - {sweep.search.metric, "loss"}
    metrics = [sweep.search.metric, *sorted(others)]
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["trial", *sweep.search.parameters, *metrics, "reason", "run_id"])
        for trial in trials:
            values = [_cell(trial.values[key]) for key in sweep.search.parameters]
            reached = [trial.metrics.get(name, "") for name in metrics]
            table.writerow([trial.number, *values, *reached, trial.reason, trial.run_id])


def _cell(value: object) -> str:
    return next(iter(leaves(value, "value").values()))


def _params(trial: Trial) -> dict[str, str]:
    """The whole configuration; what varied where that makes no experiment."""
    if trial.config is None:
        return {key: _cell(value) for key, value in trial.proposal.values.items()}
    return params_of(trial.config, trial.device)
