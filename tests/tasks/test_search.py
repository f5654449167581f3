"""Which values a search proposes."""

from typing import Any

import pytest

from plumbline.config.sweep import Search, Sweep, Values
from tasks.search import ahead_of, search

PARAMETERS = {
    "training.learning_rate": {"low": 0.001, "high": 0.1, "log": True},
    "training.epochs": {"low": 1, "high": 9},
    "data.features": [["a"], ["a", "b"], None],
}


def sweep(method: str, trials: int = 30, **more: Any) -> Sweep:
    search = {"method": method, "trials": trials, "parameters": PARAMETERS, **more}
    return Sweep(name="s", base={}, search=Search.model_validate(search))


def proposed(given: Sweep) -> list[Values]:
    """Everything that a search proposes, told results as a sweep would tell them."""
    proposals, tell = search(given)
    found = []
    ahead = ahead_of(given.search.method, workers=2)
    for number, values in enumerate(proposals, 1):
        found.append(values)
        if (over := number - ahead + 1) > 0:
            failed = over % 7 == 0
            tell(over, None if failed else -found[over - 1]["training.learning_rate"])
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
