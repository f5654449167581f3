"""What differs between recorded runs, and what it did to their metrics."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import pandas as pd

from plumbline.config.metrics import HEADLINES, better

DIGITS = 8  # of a digest or a commit; as many as people know it by
UNKNOWN = ("", "unknown")


@dataclass(frozen=True)
class RecordedRun:
    """One run, in plain values.

    Attributes:
        id: 32 hexadecimal digits.
        name: its name in the UI; several runs may share one.
        experiment: the name of its experiment.
        status: FINISHED, FAILED, KILLED or RUNNING.
        reason: why it ended otherwise than FINISHED; empty if that is not known.
        started: local time.
        params: every leaf of the configuration by its dotted key, as text.
        metrics: the last value of each.
        tags: data_digest, git_commit, git_dirty and others; any may be missing.
    """

    id: str
    name: str
    experiment: str
    status: str
    reason: str
    started: datetime
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Effect:
    """What one parameter goes with: the best value of a metric that was reached with each of its
    values.

    The two values are those with which the best and the worst result was reached. Other
    parameters may differ as well, so this describes the runs and proves nothing.
    """

    param: str
    good_value: str
    good: float
    bad_value: str
    bad: float


@dataclass(frozen=True)
class Comparison:
    """Runs side by side. Columns of the frames are the runs' numbers, from 1.

    Attributes:
        runs: the runs; differences are from the first.
        params: the parameters that differ, a row each; NaN if a run has none recorded.
        metrics: the metrics that differ, likewise; those with a better direction first.
        best: which values of `metrics` are the best of their row.
        same: the metrics of one value in every finished run, and in at least two.
        headline: the metric that says which run is best; None if none can.
        effects: for the headline, the parameter that goes with the largest difference first.
        warnings: why the runs may not be alike enough to compare.
    """

    runs: tuple[RecordedRun, ...]
    params: pd.DataFrame
    metrics: pd.DataFrame
    best: pd.DataFrame
    same: pd.Series
    headline: str | None
    effects: tuple[Effect, ...]
    warnings: tuple[str, ...]


def compare(runs: Sequence[RecordedRun]) -> Comparison:
    """Compare one run or more; with one, nothing differs."""
    params = _frame([run.params for run in runs], object)
    params = params[params.nunique(axis=1, dropna=False) > 1]
    metrics = _frame([run.metrics for run in runs], float)
    finished = [number for number, run in enumerate(runs, 1) if run.status == "FINISHED"]
    differs = _differs(metrics, finished)
    same = metrics[~differs].bfill(axis=1)[1] if len(metrics) else metrics.sum(axis=1)
    metrics = metrics[differs].sort_index(key=lambda names: names.map(_place))
    best = _best(metrics, len({run.params.get("training.loss") for run in runs}) > 1)
    headline = _headline(metrics, best, finished)
    effects = _effects(params, metrics.loc[headline], headline) if headline else ()
    return Comparison(
        tuple(runs), params, metrics, best, same, headline, effects, tuple(warnings(runs))
    )


def _frame(values: Sequence[Mapping], kind: type) -> pd.DataFrame:
    """A row for each name that any run has, a column for each run."""
    numbered = {number: pd.Series(dict(each), dtype=kind) for number, each in enumerate(values, 1)}
    return pd.DataFrame(numbered, dtype=kind).sort_index()


def _differs(metrics: pd.DataFrame, finished: Sequence[int]) -> pd.Series:
    """A run that did not finish may lack what others have in common; that is no difference."""
    lacking = metrics[finished].isna().any(axis=1)
    alone = metrics.count(axis=1) < min(2, metrics.shape[1])
    return lacking | alone | (metrics.nunique(axis=1) > 1)


def _place(name: str) -> tuple[bool, bool, str]:
    return better(name) is None, not name.startswith("test_"), name


def _best(metrics: pd.DataFrame, losses_differ: bool) -> pd.DataFrame:
    """The best of each row; none if no direction is better, or finite values do not differ.

    The loss of huber and of mse are different things: no best of those.
    """
    finite = metrics.where(np.isfinite(metrics))
    ranked = pd.Series([better(name) for name in metrics.index], metrics.index, dtype=object)
    if losses_differ:
        ranked = ranked.drop("loss", errors="ignore").reindex(metrics.index)
    ends = finite.min(axis=1).where(ranked == "lower", finite.max(axis=1).where(ranked == "higher"))
    return finite.eq(ends.where(finite.nunique(axis=1) > 1), axis=0)


def _headline(metrics: pd.DataFrame, best: pd.DataFrame, finished: Sequence[int]) -> str | None:
    """The first of HEADLINES that every finished run has; else the first that tells two apart."""
    candidates = [name for name in HEADLINES if name in best.index and best.loc[name].any()]
    whole = [n for n in candidates if finished and metrics.loc[n, finished].notna().all()]
    return next(iter([*whole, *candidates]), None)


def _effects(params: pd.DataFrame, results: pd.Series, headline: str) -> tuple[Effect, ...]:
    """One for each parameter; none if there is only one to look at, or fewer than three runs."""
    if results.count() < 3:
        return ()
    good, bad = ("min", "max") if better(headline) == "lower" else ("max", "min")
    found = []
    for name, values in params.iterrows():
        reached = results.groupby(values, sort=False).agg(good).dropna()
        if len(reached) > 1:
            first, last = getattr(reached, f"idx{good}")(), getattr(reached, f"idx{bad}")()
            found.append(Effect(name, first, reached[first], last, reached[last]))
    found.sort(key=lambda effect: -abs(effect.bad - effect.good))
    return tuple(found) if len(found) > 1 else ()


def warnings(runs: Sequence[RecordedRun]) -> Iterator[str]:
    """One sentence for each way in which the runs are unlike: what differs, and in which runs.

    A run for which a value is unknown, because it ended before its data was read, is left out.
    """
    for message, value_of in UNLIKE.items():
        groups: dict[str, list[int]] = {}
        for number, run in enumerate(runs, 1):
            groups.setdefault(value_of(run), []).append(number)
        known = [(value, found) for value, found in groups.items() if value not in UNKNOWN]
        if len(known) > 1:
            listed = "; ".join(f"{value} in {numbers(found)}" for value, found in known)
            yield f"{message}: {listed}."


def numbers(found: Iterable[int]) -> str:
    """Runs by their numbers: `run 2`, `runs 1, 3`."""
    shown = [str(number) for number in found]
    return f"run{'s' if len(shown) > 1 else ''} {', '.join(shown)}"


def _data(run: RecordedRun) -> str:
    return run.tags.get("data_digest", "")[:DIGITS]


def _loss(run: RecordedRun) -> str:
    return run.params.get("training.loss", "")


def _split(run: RecordedRun) -> str:
    """The share, the folds and the seed that places the rows; the seed only if it does."""
    share, folds = run.params.get("data.test_fraction"), run.params.get("data.folds")
    if share is None:
        return ""
    if share in ("0", "0.0") and folds in (None, "0"):
        return "none"
    return f"test_fraction {share}, folds {folds}, seed {run.params.get('data.seed')}"


def _code(run: RecordedRun) -> str:
    commit = run.tags.get("git_commit", "")
    if commit in UNKNOWN:
        return ""
    changed = " with uncommitted changes" if run.tags.get("git_dirty") == "true" else ""
    return commit[:DIGITS] + changed


UNLIKE: dict[str, Callable[[RecordedRun], str]] = {
    "The data differ, so the metrics are of different rows": _data,
    "The rows held out differ": _split,
    "`loss` is not the same thing in all runs": _loss,
    "The code differs": _code,
}
