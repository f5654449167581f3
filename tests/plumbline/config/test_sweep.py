"""What varies in a sweep, and what it is called."""

from typing import Any

import pytest

from plumbline.config.sweep import Range, Search, Sweep, is_whole, label, takes_numbers
from plumbline.errors import InputError

BASE = {"experiment": "s", "data": {"kind": "synthetic", "x": [1.0, 2.0]}}


def sweep(parameters: dict[str, Any], **more: Any) -> Sweep:
    search = Search.model_validate({"parameters": parameters, **more})
    return Sweep(name="s", base=BASE, search=search)


def test_a_grid_is_every_combination_and_the_last_parameter_varies_fastest() -> None:
    found = sweep({"training.optimizer": ["sgd", "adam"], "training.epochs": [1, 2]})
    assert [tuple(v.values()) for v in found.grid()] == [
        ("sgd", 1),
        ("sgd", 2),
        ("adam", 1),
        ("adam", 2),
    ]
    assert found.trials == 4


def test_a_range_is_spread_evenly_or_over_orders_of_magnitude() -> None:
    assert Range(low=0, high=1, count=5).values(whole=False) == [0, 0.25, 0.5, 0.75, 1]
    assert Range(low=0.001, high=1, log=True, count=4).values(whole=False) == [0.001, 0.01, 0.1, 1]


def test_a_range_of_integers_names_none_twice() -> None:
    assert Range(low=1, high=3, count=5).values(whole=True) == [1, 2, 3]


@pytest.mark.parametrize(
    ("key", "numbers", "whole"),
    [
        ("training.epochs", True, True),
        ("training.batch_size", True, True),
        ("training.learning_rate", True, False),
        ("data.folds", True, True),
        ("data.noise", True, False),
        ("training.optimizer", False, True),
        ("data.features", True, True),  # of synthetic data: how many
        ("training.standardize", False, True),
    ],
)
def test_the_schema_says_whether_a_key_takes_integers(key: str, numbers: bool, whole: bool) -> None:
    assert (takes_numbers(key), is_whole(key)) == (numbers, whole)


def test_a_trial_is_named_by_what_varies() -> None:
    values = {"training.learning_rate": 0.01, "training.optimizer": "adam"}
    assert label(values) == "lr=0.01 optimizer=adam"
    assert label({"data.seed": 1, "training.seed": 2}) == "data.seed=1 training.seed=2"
    assert label({"data.features": ["a", "b"], "training.batch_size": None}) == (
        'features=["a","b"] batch_size=null'
    )


def test_a_trial_is_the_base_with_its_values() -> None:
    config = sweep({"training.epochs": [7]}).trial({"training.epochs": 7})
    assert config.training.epochs == 7
    assert "training" not in BASE


@pytest.mark.parametrize("written", [{}, {"training": None}, {"training": {}}])
def test_a_section_may_be_missing_or_empty_in_the_base(written: dict[str, Any]) -> None:
    found = sweep({"training.epochs": [5]})
    found = found.model_copy(update={"base": BASE | written})
    assert found.trial({"training.epochs": 5}).training.epochs == 5


def test_a_trial_whose_values_do_not_fit_together_is_refused() -> None:
    values = {"training.optimizer": "adam", "training.momentum": 0.5}
    with pytest.raises(InputError, match=r"training\.momentum must be 0 with optimizer adam"):
        sweep({"training.momentum": [0.5]}).trial(values)


def test_the_features_of_all_trials_are_known_unless_one_takes_all() -> None:
    assert sweep({"data.features": [["a"], ["a", "b"]]}).varied_features == ("a", "b")
    assert sweep({"data.features": [["a"], None]}).varied_features is None
    assert sweep({"training.epochs": [1]}).varied_features is None
