"""Find recorded runs and read what a comparison needs."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from mlflow import MlflowClient
from mlflow.entities import Run

from plumbline.errors import InputError, nearest, refuse
from tasks.compare.comparison import RecordedRun
from tasks.pictures.style import thinned
from tasks.tracking.experiment import PRUNED_TAG, SWEEP_TAG, newest_experiment
from tasks.tracking.run import runs_by_id
from tasks.tracking.store import like, open_store, runs_where

LATEST = 10
MOST_NAMES = 1_000  # runs among which a mistyped name is looked for
MOST_SUGGESTED = 3


def read_runs(experiment: str | None, wanted: Sequence[str] = ()) -> list[RecordedRun]:
    """Read the runs to compare: the wanted ones in that order, or else the latest, oldest first.

    Args:
        experiment: the experiment's name; default: that of the newest run.
        wanted: ids of runs, beginnings of ids, or names. They are looked for in the experiment
            first, then in all others.

    Raises:
        InputError: there is no such experiment or run, or several runs match.
    """
    client = open_store()
    names = {e.experiment_id: e.name for e in client.search_experiments()}
    chosen = _experiment(client, names, experiment)
    if wanted:
        found = [_find(client, chosen, text) for text in wanted]
        found = list({run.info.run_id: run for run in found}.values())
    else:
        filtered = f"tags.`{SWEEP_TAG}` IS NULL"
        found = client.search_runs([chosen], filtered, max_results=LATEST)[::-1]
    return [_recorded(run, names[run.info.experiment_id]) for run in found]


def other_experiments(than: str) -> list[str]:
    """The names of up to three other experiments that have at least two runs."""
    client = MlflowClient()
    others = [each for each in client.search_experiments() if each.name != than]
    whole = [e for e in others if len(client.search_runs([e.experiment_id], max_results=2)) > 1]
    return [each.name for each in whole[:MOST_SUGGESTED]]


def read_losses(run_id: str) -> list[tuple[int, float]]:
    """(epoch, loss) of a run, in order; at most 2,000 evenly spaced ones."""
    history = MlflowClient().get_metric_history(run_id, "loss")
    points = sorted({(metric.step, metric.value) for metric in history})
    if not points:
        return []
    return [points[place] for place in thinned(len(points))]


def _experiment(client: MlflowClient, names: dict[str, str], wanted: str | None) -> str:
    """The id of the wanted experiment, which must have runs; by default of the newest run's."""
    newest = newest_experiment(client)
    if newest is None:
        raise InputError("there is no run to compare yet. Record one with make run-pipeline.")
    if wanted is None:
        return newest.experiment_id
    for known, name in names.items():
        if name == wanted:
            if not client.search_runs([known], max_results=1):
                raise refuse("EXPERIMENT", "an experiment that has runs", wanted)
            return known
    raise refuse("EXPERIMENT", f"an experiment{_meant(wanted, names.values())}", wanted)


def _find(client: MlflowClient, experiment: str, text: str) -> Run:
    """Find a run by its id, the beginning of its id, or its name, in this experiment or else in
    all."""
    found = runs_by_id(text)
    if not found:
        alike = runs_where(f"attributes.run_name LIKE '{like(text)}'")
        named = [run for run in alike if run.info.run_name == text]
        found = [run for run in named if run.info.experiment_id == experiment] or named
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(run.info.run_id[:8] for run in found[:5])
        several = len({run.info.experiment_id for run in found}) > 1
        other = " or EXPERIMENT=name" if several else ""
        raise refuse("RUNS", f"one run each; give more of the id{other}, as here: {ids}", text)
    known = [run.info.run_name for run in client.search_runs([experiment], max_results=MOST_NAMES)]
    raise refuse("RUNS", f"ids or names of runs{_meant(text, known)}", text)


def _meant(text: str, known: Iterable[str]) -> str:
    """A hint: the closest known name, or a few existing names if none is close."""
    names = list(dict.fromkeys(known))
    if close := nearest(text, names):
        return f" (did you mean '{close}'?)"
    return f" (such as {', '.join(map(repr, names[:MOST_SUGGESTED]))})"


def _recorded(run: Run, experiment: str) -> RecordedRun:
    info, data = run.info, run.data
    metrics = dict(data.metrics)
    if epochs := data.tags.get("epochs_run"):
        metrics["epochs_run"] = float(epochs)
    status = "PRUNED" if PRUNED_TAG in data.tags else info.status  # MLflow has no such status
    ended_well = status in ("FINISHED", "RUNNING")
    return RecordedRun(
        id=info.run_id,
        name=info.run_name,
        experiment=experiment,
        status=status,
        reason="" if ended_well else data.tags.get("reason", "not recorded"),
        started=datetime.fromtimestamp(info.start_time / 1000),
        params=data.params,
        metrics=metrics,
        tags=data.tags,
    )
