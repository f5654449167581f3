"""Which values to try next: all of a grid, or what Optuna proposes."""

from collections.abc import Callable, Iterator
from typing import Any

from plumbline.config.sweep import Range, Search, Sweep, Values, is_whole

Tell = Callable[[int, float | None], None]
# How many trials may be under way when the next is proposed. For tpe a fixed number, so that what
# it proposes depends on the seed and the results, never on the machine; the others do not learn.
TPE_AHEAD, LEAST_AHEAD = 4, 16


def ahead_of(method: str, workers: int) -> int:
    """How many trials may be under way at once."""
    return TPE_AHEAD if method == "tpe" else max(LEAST_AHEAD, 2 * workers)


def search(sweep: Sweep) -> tuple[Iterator[Values], Tell]:
    """The values of each trial, and what is told the metric that a trial reached (None: it failed).

    The same seed and the same results, told in the order of the trials' numbers (from 1), give the
    same values; so an interrupted search is resumed by telling it what is known.
    """
    if sweep.search.method == "grid":
        return sweep.grid(), lambda number, metric: None  # a grid does not learn
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    seed = sweep.search.seed % 2**32
    if sweep.search.method == "random":
        sampler = optuna.samplers.RandomSampler(seed=seed)
    else:
        sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    study = optuna.create_study(sampler=sampler, direction=sweep.search.direction)

    def tell(number: int, metric: float | None) -> None:
        failed = optuna.trial.TrialState.FAIL if metric is None else None
        study.tell(number - 1, metric, state=failed)

    return _proposed(study, sweep.search), tell


def _proposed(study: Any, search: Search) -> Iterator[Values]:
    spaces = {key: _space(key, given) for key, given in search.parameters.items()}
    for _ in range(search.trials):
        found = study.ask(spaces).params
        yield {
            key: found[key] if isinstance(given, Range) else given[found[key]]
            for key, given in search.parameters.items()
        }


def _space(key: str, given: Range | list[Any]) -> Any:
    """Optuna's distribution; of a list its places, because Optuna takes no lists or nulls."""
    from optuna import distributions

    if not isinstance(given, Range):
        return distributions.CategoricalDistribution(list(range(len(given))))
    if is_whole(key):
        return distributions.IntDistribution(round(given.low), round(given.high), log=given.log)
    return distributions.FloatDistribution(given.low, given.high, log=given.log)
