"""Records a sweep in MLflow: each finished trial in a nested run, the best one in the parent.

Trials are recorded one after another, so that the store has a single writer.
"""

import csv
import json
import tempfile
from dataclasses import replace
from pathlib import Path

from prefect import task

from plumbline.config.sweep import Values, label
from plumbline.errors import AllTrialsFailedError
from plumbline.training.trained import Status
from tasks.artifacts import publish
from tasks.pictures.shown import draw_beside
from tasks.recording import log_files, log_model_file, log_results
from tasks.tracking.experiment import (
    PRUNED_TAG,
    describe_ending,
    describe_run,
    description,
    params_of,
)
from tasks.tracking.run import FLOW_TAG
from tasks.tracking.sweep import SweepRun
from tasks.trials import Trial


def add(tracked: SweepRun, trial: Trial) -> None:
    """Record a finished trial, unless it was only trained again for its model."""
    if trial.number not in tracked.trials:
        tracked.trials[trial.number] = _recorded(tracked, trial)
        _print(tracked, tracked.trials[trial.number])
        tracked.progress.show(len(tracked.trials))
    if tracked.best_recorded is tracked.trials[trial.number]:
        tracked.best = trial


def _recorded(tracked: SweepRun, trial: Trial) -> Trial:
    """Log a trial's params, losses, metrics and files, or why it failed. Return it without its
    model and its data, which take memory."""
    outcome, params = trial.outcome, _params(trial)
    pruned = outcome.status is Status.PRUNED
    status = "FINISHED" if pruned or not outcome.error else "FAILED"
    with tracked.recording(trial, _note(trial, tracked), status) as run:
        for name, curve in outcome.curves.items():
            run.log_curve(name, curve)
        if outcome.error:
            tags = {PRUNED_TAG: len(outcome.losses)} if pruned else {}
            run.log(params=params, tags={**tags, "reason": outcome.error})
        else:
            log_model_file(run, trial.config)
            log_results(run, trial.result, params)
            log_files(run, trial.result, tracked.sweep.search.keep_models == "all")
    without_model = replace(outcome, trained=None, predictions=())
    return replace(trial, outcome=without_model, data=None, run=run)


def _print(tracked: SweepRun, trial: Trial) -> None:
    metric, outcome = tracked.sweep.search.metric, trial.outcome
    why = f"{'pruned: ' if outcome.status is Status.PRUNED else ''}{outcome.error}"
    result = why or f"{metric} {outcome.metrics[metric]:.6g}"
    best = " (the best so far)" if tracked.best_recorded is trial else ""
    place = f"[{trial.number:{len(str(tracked.total))}}/{tracked.total}]"
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
def conclude(tracked: SweepRun) -> None:
    """Store the best model; log its params and metrics, a table and plots to the parent run.

    Raises:
        AllTrialsFailedError: no trial has a result.
    """
    best = tracked.best_recorded
    if best is None:
        first = tracked.trials[min(tracked.trials)].outcome.error.rstrip(".")
        raise AllTrialsFailedError(
            f"all {len(tracked.trials)} trials failed; the first: {first}. "
            "Correct sweep.parameters or the other keys, and run the same command again."
        )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "plots").mkdir()
        with draw_beside("sweep", _shown(tracked), folder / "plots"):
            if tracked.sweep.search.keep_models == "best":
                log_files(best.run, tracked.best.result)
            tags = {"best_trial": best.number, "best_run_id": best.run.id}
            tracked.run.log(best.outcome.metrics, tags, _params(tracked.best))
            _write_table(tracked, folder / "trials.csv")
        tracked.run.client.log_artifacts(tracked.run.id, str(folder))
    publish(tracked.run, f"The best of {len(tracked.trials)} trials", best.outcome.metrics)


def _shown(tracked: SweepRun) -> dict:
    """The data for the plots of the metric against what varied, as `draw_sweep` takes it."""
    search, done = tracked.sweep.search, tracked.done
    return {
        "metric": search.metric,
        "reached": [trial.outcome.metrics[search.metric] for trial in done],
        "best": done.index(tracked.best_recorded),
        "values": {key: [trial.values[key] for trial in done] for key in search.parameters},
    }


def _write_table(tracked: SweepRun, path: Path) -> None:
    """Write a row for each trial: what varied, the metrics (the sweep's first), why it failed."""
    search, trials = tracked.sweep.search, tracked.trials
    others = {name for trial in trials.values() for name in trial.outcome.metrics}
    others = sorted(others - {search.metric})
    columns = ["trial", *search.parameters, search.metric, *others, "reason", "run_id"]
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
        table.writeheader()
        for number, trial in sorted(trials.items()):
            what = {"trial": number, "reason": trial.outcome.error, "run_id": trial.run.id}
            table.writerow({**trial.outcome.metrics, **_as_text(trial.values), **what})


def _as_text(values: Values) -> dict[str, str]:
    return {key: v if isinstance(v, str) else json.dumps(v) for key, v in values.items()}


def _params(trial: Trial) -> dict[str, str]:
    """The params of a trial's run; only what varied if the configuration is wrong."""
    return params_of(trial.config, trial.device) if trial.config else _as_text(trial.values)
