"""The search of a sweep: the values of a grid or Optuna's proposals, and which trials it prunes."""

import pickle
from collections.abc import Callable, Iterator
from typing import Any

from plumbline.config.sweep import Range, Search, Sweep, Values, is_whole
from plumbline.training.experiment import Outcome
from plumbline.training.trained import Status

# How many trials may be under way when the next is proposed. For tpe a fixed number, so that what
# it proposes depends on the seed and the results, never on the machine. What is pruned depends on
# the trials that are over by then: the fewer are under way, the more there are to compare with.
TPE_AHEAD, LEAST_AHEAD = 4, 16
# The epochs after which a trial may be pruned, each a tenth more than the one before: Optuna is
# asked a few dozen times, however many epochs there are.
JUDGED = frozenset(round(5 * 1.1**k) for k in range(150))


Tell = Callable[[int, Outcome], None]  # with the trial's number


def ahead_of(search: Search, workers: int) -> int:
    """How many trials may run at once."""
    if search.method == "tpe":
        return TPE_AHEAD
    return max(TPE_AHEAD, workers) if search.pruner != "none" else max(LEAST_AHEAD, 2 * workers)


def search(sweep: Sweep) -> tuple[Iterator[tuple[Values, bytes]], Tell]:
    """Each trial's values with what `pruning_rule` takes, and a function that takes each result.

    The same seed and the same results, given in the order of the trials' numbers (from 1), give the
    same values and prune the same trials; so an interrupted search is resumed by giving it the
    results that are known.
    """
    given = sweep.search
    if given.method == "grid" and given.pruner == "none":  # nothing that learns
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
    """A function of an epoch and its validation loss that says whether the trial is pruned.

    Args:
        pruner: a trial of Optuna, pickled with all that was known when it was proposed; so wherever
            it trains, nobody has to be asked. Empty: nothing is pruned.
    """
    if not pruner:
        return lambda epoch, loss: False
    trial = pickle.loads(pruner)

    def is_poor(epoch: int, loss: float) -> bool:
        _report(trial, epoch, loss)
        return epoch in JUDGED and trial.should_prune()

    return is_poor


def _report(trial: Any, epoch: int, loss: float) -> None:
    """A loss is better if it is less, whatever the sweep's metric is."""
    if epoch in JUDGED:
        trial.report(loss if trial.study.direction.name == "MINIMIZE" else -loss, epoch)


def _space(key: str, given: Range | list[Any]) -> Any:
    """Optuna's distribution; of a list its places, because Optuna takes no lists or nulls."""
    from optuna import distributions

    if not isinstance(given, Range):
        return distributions.CategoricalDistribution(list(range(len(given))))
    if is_whole(key):
        return distributions.IntDistribution(round(given.low), round(given.high), log=given.log)
    return distributions.FloatDistribution(given.low, given.high, log=given.log)
