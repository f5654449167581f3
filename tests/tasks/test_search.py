"""Which values a search proposes."""

from typing import Any

import pytest

from plumbline.config.sweep import Search, Sweep
from tasks.search import Proposal, ahead_of, search_of

PARAMETERS = {
    "training.learning_rate": {"low": 0.001, "high": 0.1, "log": True},
    "training.epochs": {"low": 1, "high": 9},
    "data.features": [["a"], ["a", "b"], None],
}


def sweep(method: str, trials: int = 30, **more: Any) -> Sweep:
    search = {"method": method, "trials": trials, "parameters": PARAMETERS, **more}
    return Sweep(name="s", base={}, search=Search.model_validate(search))


def proposed(given: Sweep) -> list[Proposal]:
    """Everything that a search proposes, told results as a sweep would tell them."""
    search, waiting, found = search_of(given), [], []
    for proposal in search:
        waiting.append(proposal)
        if len(waiting) == ahead_of(given.search.method, workers=2):
            first = waiting.pop(0)
            found.append(first)
            failed = first.number % 7 == 0
            search.tell(first, None if failed else -first.values["training.learning_rate"])
    return found + waiting


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_the_same_seed_and_results_give_the_same_proposals(method: str) -> None:
    first = proposed(sweep(method))
    assert [p.number for p in first] == list(range(1, 31))
    assert proposed(sweep(method)) == first
    assert proposed(sweep(method, seed=1)) != first


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_proposals_are_within_what_was_given(method: str) -> None:
    for proposal in proposed(sweep(method)):
        rate, epochs, features = proposal.values.values()
        assert 0.001 <= rate <= 0.1
        assert isinstance(epochs, int)
        assert 1 <= epochs <= 9
        assert features in PARAMETERS["data.features"]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_tpe_moves_to_where_the_metric_is_better(direction: str) -> None:
    late = proposed(sweep("tpe", 60, direction=direction))[40:]
    middle = 0.01
    above = sum(p.values["training.learning_rate"] > middle for p in late)
    assert above > 15 if direction == "minimize" else above < 5
