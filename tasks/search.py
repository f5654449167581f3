"""Which values to try next: all of a grid, or what Optuna proposes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from plumbline.config.sweep import Range, Sweep, Values, is_whole

# How many trials may be under way when the next is proposed. For tpe a fixed number, so that what
# it proposes depends on the seed and the results, never on the machine; the others do not learn.
TPE_AHEAD, LEAST_AHEAD = 4, 16


def ahead_of(method: str, workers: int) -> int:
    """How many trials may be under way at once."""
    return TPE_AHEAD if method == "tpe" else max(LEAST_AHEAD, 2 * workers)


@dataclass(frozen=True)
class Proposal:
    """What a trial varies.

    Attributes:
        number: from 1.
        values: by dotted key.
    """

    number: int
    values: Values


class GridSearch:
    """Every combination, in order."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep

    def __iter__(self) -> Iterator[Proposal]:
        for number, values in enumerate(self._sweep.grid(), 1):
            yield Proposal(number, values)

    def tell(self, proposal: Proposal, value: float | None) -> None:
        """A grid does not learn."""


class OptunaSearch:
    """Random values, or tpe's.

    The same seed and the same results, told in the order of the numbers, give the same proposals;
    so an interrupted search is resumed by telling it what is known.
    """

    def __init__(self, sweep: Sweep) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        search = sweep.search
        samplers = {
            "random": lambda: optuna.samplers.RandomSampler(seed=search.seed % 2**32),
            "tpe": lambda: optuna.samplers.TPESampler(seed=search.seed % 2**32, constant_liar=True),
        }
        self._search = search
        self._study = optuna.create_study(
            sampler=samplers[search.method](), direction=search.direction
        )
        self._spaces = {key: _space(key, given) for key, given in search.parameters.items()}
        self._trials: dict[int, Any] = {}

    def __iter__(self) -> Iterator[Proposal]:
        for number in range(1, self._search.trials + 1):
            trial = self._trials[number] = self._study.ask(self._spaces)
            yield Proposal(number, {key: self._value(key, trial) for key in self._spaces})

    def tell(self, proposal: Proposal, value: float | None) -> None:
        """Say what a trial reached; None where it failed."""
        from optuna.trial import TrialState

        state = TrialState.FAIL if value is None else TrialState.COMPLETE
        self._study.tell(self._trials.pop(proposal.number), value, state=state)

    def _value(self, key: str, trial: Any) -> Any:
        given = self._search.parameters[key]
        return trial.params[key] if isinstance(given, Range) else given[trial.params[key]]


def search_of(sweep: Sweep) -> GridSearch | OptunaSearch:
    """The search that a sweep asks for."""
    return GridSearch(sweep) if sweep.search.method == "grid" else OptunaSearch(sweep)


def _space(key: str, given: Range | list[Any]) -> Any:
    """Optuna's distribution; of a list its places, because Optuna takes no lists or nulls."""
    from optuna import distributions

    if not isinstance(given, Range):
        return distributions.CategoricalDistribution(list(range(len(given))))
    if is_whole(key):
        return distributions.IntDistribution(round(given.low), round(given.high), log=given.log)
    return distributions.FloatDistribution(given.low, given.high, log=given.log)
