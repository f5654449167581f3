"""Which values a search proposes."""

from typing import Any

import pytest

from plumbline.config.sweep import Search, Sweep, Values
from plumbline.training.experiment import Outcome
from plumbline.training.trained import Status
from tasks.search import ahead_of, pruning_rule, search

PARAMETERS = {
    "training.learning_rate": {"low": 0.001, "high": 0.1, "log": True},
    "training.epochs": {"low": 1, "high": 9},
    "data.features": [["a"], ["a", "b"], None],
}
METRIC, FAILED = "test_rmse", Outcome(Status.FAILED, {})


def sweep(method: str, trials: int = 30, **more: Any) -> Sweep:
    search = {"method": method, "trials": trials, "metric": METRIC, "parameters": PARAMETERS}
    return Sweep(name="s", base={}, search=Search.model_validate(search | more))


def proposed(given: Sweep) -> list[Values]:
    """Everything that a search proposes, told results as a sweep would tell them."""
    proposals, tell = search(given)
    found = []
    ahead = ahead_of(given.search, workers=2)
    for number, (values, _) in enumerate(proposals, 1):
        found.append(values)
        if (over := number - ahead + 1) > 0:
            failed = over % 7 == 0
            metrics = {METRIC: -found[over - 1]["training.learning_rate"]}
            tell(over, FAILED if failed else Outcome(Status.COMPLETED, {}, metrics=metrics))
    return found


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_the_same_seed_and_results_give_the_same_proposals(method: str) -> None:
    first = proposed(sweep(method))
    assert len(first) == 30
    assert proposed(sweep(method)) == first
    assert proposed(sweep(method, seed=1)) != first


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_proposals_are_within_what_was_given(method: str) -> None:
    for values in proposed(sweep(method)):
        rate, epochs, features = values.values()
        assert 0.001 <= rate <= 0.1
        assert isinstance(epochs, int)
        assert 1 <= epochs <= 9
        assert features in PARAMETERS["data.features"]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_tpe_moves_to_where_the_metric_is_better(direction: str) -> None:
    late = proposed(sweep("tpe", 60, direction=direction))[40:]
    middle = 0.01
    above = sum(values["training.learning_rate"] > middle for values in late)
    assert above > 15 if direction == "minimize" else above < 5


def last_epoch(pruner: bytes, losses: list[float]) -> int:
    """The epoch after which a trial with these validation losses ends."""
    is_poor = pruning_rule(pruner)
    ended = (epoch for epoch, loss in enumerate(losses, 1) if is_poor(epoch, loss))
    return next(ended, len(losses))


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("method", ["grid", "random", "tpe"])
def test_the_median_of_earlier_trials_prunes_the_worse_ones_only(method, direction) -> None:
    parameters = {"training.learning_rate": {"low": 0.1, "high": 1, "count": 9}}
    more = {"pruner": "median", "direction": direction, "parameters": parameters}
    proposals, tell = search(sweep(method, 9, **more))
    for number in range(1, 6):
        _, pruner = next(proposals)
        assert last_epoch(pruner, [9.0] * 20) == 20  # with too few before it
        curves, metrics = {"validation_loss": [float(number)] * 20}, {METRIC: float(number)}
        tell(number, Outcome(Status.COMPLETED, curves, metrics=metrics))
    values, pruner = next(proposals)
    assert values.keys() == parameters.keys()
    assert last_epoch(pruner, [3.1] * 20) == 5
    assert last_epoch(pruner, [9.0] * 5 + [2.9] * 15) == 5
    assert last_epoch(pruner, [2.9] + [9.0] * 19) == 5  # after one that is not judged
    assert last_epoch(pruner, [2.9] * 20) == 20
    tell(6, Outcome(Status.PRUNED, {"validation_loss": [3.1] * 5}))
    assert last_epoch(next(proposals)[1], [2.9] * 20) == 20


def test_without_a_pruner_no_trial_is_pruned() -> None:
    proposals, _ = search(sweep("grid"))
    assert not pruning_rule(next(proposals)[1])(5, 1e9)
