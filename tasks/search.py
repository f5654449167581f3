"""Searches for a sweep: takes values from a grid or from Optuna, and decides what to prune."""

import pickle
from collections.abc import Callable, Iterator
from typing import Any

from plumbline.config.reference import is_whole
from plumbline.config.sweep import Range, Search, Sweep, Values
from plumbline.training.experiment import Outcome
from plumbline.training.trained import Status

# How many trials may be running when the next one is proposed. For tpe the number is fixed, so that
# proposals depend on the seed and the results, not on the machine. A pruner compares a trial with
# the finished ones, and the fewer trials are running, the more are finished.
TPE_AHEAD, LEAST_AHEAD = 4, 16
# The epochs after which a trial may be pruned. Each is 10 % more than the previous one, so Optuna
# is asked only a few dozen times in a long training.
JUDGED = frozenset(round(5 * 1.1**k) for k in range(150))


Tell = Callable[[int, Outcome], None]  # of a trial's number and outcome


def ahead_of(search: Search, workers: int) -> int:
    """How many trials may run at once."""
    if search.method == "tpe":
        return TPE_AHEAD
    return max(TPE_AHEAD, workers) if search.pruner != "none" else max(LEAST_AHEAD, 2 * workers)


def search(sweep: Sweep) -> tuple[Iterator[tuple[Values, bytes]], Tell]:
    """Return an iterator of each trial's values and pruner, and a function to report outcomes.

    The pruner is what `pruning_rule` takes. Outcomes must be reported in the order of the trials'
    numbers, which start at 1. The same seed and outcomes give the same values and prune the same
    trials, so an interrupted search is resumed by reporting the known outcomes.
    """
    given = sweep.search
    if given.method == "grid" and given.pruner == "none":  # outcomes have no effect
        return ((values, b"") for values in sweep.grid()), lambda number, outcome: None
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    seed = given.seed % 2**32
    if given.method == "tpe":
        sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    else:
        sampler = optuna.samplers.RandomSampler(seed=seed)
    pruner = optuna.pruners.MedianPruner()
    study = optuna.create_study(sampler=sampler, pruner=pruner, direction=given.direction)
    asked: list[optuna.Trial] = []

    def tell(number: int, outcome: Outcome) -> None:
        trial, metric = asked[number - 1], outcome.metrics.get(given.metric)
        if given.pruner != "none":
            for epoch, loss in enumerate(outcome.curves.get("validation_loss", ()), 1):
                _report(trial, epoch, loss)
        pruned, states = outcome.status is Status.PRUNED, optuna.trial.TrialState
        without = states.PRUNED if pruned else states.FAIL
        study.tell(trial, metric, state=without if metric is None else None)

    return _proposed(study, sweep, asked), tell


def _proposed(study: Any, sweep: Sweep, asked: list[Any]) -> Iterator[tuple[Values, bytes]]:
    given = sweep.search
    grid = list(sweep.grid()) if given.method == "grid" else None
    spaces = {} if grid else {key: _space(key, each) for key, each in given.parameters.items()}
    for number in range(sweep.trials):
        trial = study.ask(spaces)
        asked.append(trial)
        found = trial.params
        values = grid[number] if grid else {
            key: found[key] if isinstance(each, Range) else each[found[key]]
            for key, each in given.parameters.items()
        }  # fmt: skip
        yield values, pickle.dumps(trial) if given.pruner != "none" else b""


def pruning_rule(pruner: bytes) -> Callable[[int, float], bool]:
    """Return a function of an epoch and its validation loss that says whether to prune the trial.

    Args:
        pruner: an Optuna trial, pickled with all results known when it was proposed, so that the
            process that trains it needs no connection to the study. Empty: never prune.
    """
    if not pruner:
        return lambda epoch, loss: False
    trial = pickle.loads(pruner)

    def is_poor(epoch: int, loss: float) -> bool:
        _report(trial, epoch, loss)
        return epoch in JUDGED and trial.should_prune()

    return is_poor


def _report(trial: Any, epoch: int, loss: float) -> None:
    """Report a loss. A lower one is better, also if the sweep maximizes its metric."""
    if epoch in JUDGED:
        trial.report(loss if trial.study.direction.name == "MINIMIZE" else -loss, epoch)


def _space(key: str, given: Range | list[Any]) -> Any:
    """Optuna's distribution of a range, or of a list's indices: Optuna takes no lists or nulls."""
    from optuna import distributions

    if not isinstance(given, Range):
        return distributions.CategoricalDistribution(list(range(len(given))))
    if is_whole(key):
        return distributions.IntDistribution(round(given.low), round(given.high), log=given.log)
    return distributions.FloatDistribution(given.low, given.high, log=given.log)
