"""What varies in a sweep, what it is called, and what is refused before the first trial."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from plumbline.config.reference import is_whole, number_types
from plumbline.config.sweep import Range, Search, Sweep, label, load_sweep
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
    assert (bool(number_types(key)), is_whole(key)) == (numbers, whole)


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
    assert sweep({"data.features": [["a"], ["a", "b"]]}).varied_features == ["a", "b"]
    assert sweep({"data.features": [1, 2]}).varied_features is None  # generated: how many
    assert sweep({"data.features": [["a"], None]}).varied_features is None
    assert sweep({"training.epochs": [1]}).varied_features is None


FILE = {
    "experiment": "base",
    "data": {"kind": "synthetic", "x": [1.0, 2.0, 3.0]},
    "training": {"epochs": 10, "dtype": "float32"},
}
RATES = {"training.learning_rate": [0.01, 0.1]}


def loaded(folder: Path, sweep: dict[str, Any], *overrides: str, **more: Any) -> Sweep:
    (folder / "base.yaml").write_text(yaml.safe_dump(FILE))
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump({"base": "base.yaml", "sweep": sweep, **more}))
    return load_sweep(path, overrides)


def test_the_base_is_found_beside_the_sweep_and_keys_there_replace_its_own(tmp_path: Path) -> None:
    found = loaded(tmp_path, {"parameters": RATES}, training={"epochs": 20})
    config = found.trial({"training.learning_rate": 0.1})
    assert (config.training.epochs, config.training.dtype) == (20, "float32")


def test_a_file_may_hold_the_base_itself(tmp_path: Path) -> None:
    path = tmp_path / "whole.yaml"
    path.write_text(yaml.safe_dump({**FILE, "sweep": {"parameters": RATES}}))
    assert load_sweep(path).trials == 2


def test_overrides_reach_the_sweep_what_varies_and_the_base(tmp_path: Path) -> None:
    overrides = ("sweep.parameters.training.epochs=[1, 2, 3]", "training.dtype=float64")
    found = loaded(tmp_path, {"parameters": RATES}, *overrides, "sweep.metric=train_r2")
    assert found.trials == 6
    assert found.search.metric == "train_r2"
    assert found.base["training"]["dtype"] == "float64"


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({}, r"sweep\.parameters is missing"),
        ({"parameters": {}}, r"sweep\.parameters must be a non-empty mapping"),
        ({"parameters": RATES, "metod": "grid"}, r"Did you mean sweep\.method\?"),
        ({"parameters": RATES, "method": "annealing"}, r"grid or random or tpe. Got 'annealing'"),
        ({"parameters": RATES, "trials": 0}, r"sweep\.trials must be an integer >= 1"),
        ({"parameters": {"runner": ["threads", "ray"]}}, r"runner must be left out"),
        ({"parameters": {"training.lerning_rate": [1]}}, r"Did you mean training\.learning_rate\?"),
        (
            {"parameters": {"training.epochs": {"low": 5, "high": 1}}},
            r"sweep\.parameters\.training\.epochs\.low must be less than high. Got 5 and 1",
        ),
        (
            {"parameters": {"training.learning_rate": {"low": 0.0, "high": 1, "log": True}}},
            r"learning_rate\.low must be > 0 if log is true",
        ),
        (
            {"parameters": {"training.epochs": 5}},
            r"training\.epochs must be \{low, high, log, count\} or a non-empty list",
        ),
        (
            {"parameters": {"training.optimizer": {"low": 1, "high": 2}}},
            r"must be a list of values \(a range is for numbers\)",
        ),
        (
            {"parameters": {"training.penalty": {"low": 1, "high": 2}}},
            r"must be a list of values \(a range is for numbers\)",
        ),
        (
            {"parameters": {"training": [{"epochs": 5}]}},
            r"sweep\.parameters must be keys or sections inside training\. Got training instead",
        ),
        ({"parameters": {"ray": [{"workers": 2}]}}, r"parameters\.ray must be left out"),
        (
            {"parameters": {"training.penalty": [None, {"kind": "rigde"}]}},
            r"training\.penalty\.kind must be .*ridge.*Got 'rigde'",
        ),
        (
            {"parameters": {"training.momentum": [0.5, 2.0]}},
            r"training\.momentum must be a number >= 0 and < 1. Got 2.0",
        ),
        ({"parameters": RATES, "metric": "tran_mse"}, "Did you mean train_mse?"),
        (
            {"parameters": RATES, "metric": "cv_rmse_mean"},
            r"metric must be linear_cv_rmse_mean \(its name now, .* exact unpenalised fit",
        ),
        ({"parameters": RATES, "metric": "linear_cv_rmse_mean"}, r"while data\.folds is 0"),
        (
            {"parameters": RATES, "metric": "optimal_mse"},
            r"metric must be of the model unless a data key varies \(all trials share it\)\. "
            "Got 'optimal_mse'",
        ),
        (
            {"parameters": RATES, "metric": "test_mse"},
            r"another metric while data\.test_fraction is 0",
        ),
        ({"parameters": RATES, "metric": "mae"}, r"data\.test_fraction is 0. Got 'test_mae'"),
        (
            {"parameters": RATES, "pruner": "median"},
            r"data\.validation_fraction must be above 0 in every trial with sweep\.pruner median",
        ),
        (
            {"parameters": {"training.loss": ["mse", "huber"]}, "pruner": "median"},
            r"sweep\.pruner must be none while training\.loss varies",
        ),
        (
            {"parameters": {"training.optimizer": [date(2024, 3, 1)]}},
            r"sweep\.parameters\.training\.optimizer: .* Got datetime\.date\(2024, 3, 1\)",
        ),
    ],
)
def test_what_is_wrong_in_every_trial_is_refused(
    tmp_path: Path, sweep: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        loaded(tmp_path, sweep)


@pytest.mark.parametrize(
    ("given", "classes", "metric", "direction"),
    [
        ({}, False, "train_mse", "minimize"),
        ({}, True, "test_log_loss", "minimize"),
        ({"metric": "test_accuracy"}, True, "test_accuracy", "maximize"),
        ({"metric": "train_r2", "direction": "minimize"}, False, "train_r2", "minimize"),
    ],
)
def test_the_target_decides_the_metric_and_the_metric_what_is_better(
    tmp_path: Path, given: dict[str, str], classes: bool, metric: str, direction: str
) -> None:
    sweep = loaded(tmp_path, {"parameters": RATES, **given}, "data.test_fraction=0.2")
    found = sweep.of_target(classes).search
    assert (found.metric, found.direction) == (metric, direction)
    with pytest.raises(InputError, match=r"sweep\.metric must be auto, or one that suits a target"):
        loaded(
            tmp_path, {"parameters": RATES, "metric": metric}, "data.test_fraction=0.2"
        ).of_target(not classes)


def test_what_is_wrong_in_some_combinations_only_is_left_to_the_trials(tmp_path: Path) -> None:
    given = {"training.optimizer": ["sgd", "adam"], "training.momentum": [0.0, 0.9]}
    assert loaded(tmp_path, {"parameters": given}).trials == 4


def test_a_single_experiment_is_no_sweep(tmp_path: Path) -> None:
    path = tmp_path / "single.yaml"
    path.write_text(yaml.safe_dump(FILE))
    with pytest.raises(InputError, match=r"sweep is missing.*make run-pipeline"):
        load_sweep(path)


def test_a_base_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text("base: nowhere.yaml\nsweep: {parameters: {training.epochs: [1]}}\n")
    with pytest.raises(InputError, match=r"nowhere\.yaml: cannot be read"):
        load_sweep(path)


def test_options_of_a_module_of_ones_own_may_vary(tmp_path: Path) -> None:
    own = {"kind": "python", "file": "net.py", "options": {"depth": 2, "width": 8}}
    data = {"kind": "synthetic", "rows": 9}
    parameters = {"model.options.width": [4, 16]}
    path = tmp_path / "s.yaml"
    path.write_text(json.dumps(
        {"experiment": "e", "data": data, "model": own, "sweep": {"parameters": parameters}}
    ))  # fmt: skip
    sweep = load_sweep(path)
    found = [sweep.trial(values).model.options for values in sweep.grid()]
    assert found == [{"depth": 2, "width": 4}, {"depth": 2, "width": 16}]
    assert sweep.first().model.options == found[0]


def test_a_section_may_vary_as_a_whole_and_keys_in_it_besides(tmp_path: Path) -> None:
    strengths = {"training.penalty": [{"kind": "ridge"}], "training.penalty.strength": [0.1, 1.0]}
    base = {"training": {"optimizer": "exact"}}
    found = loaded(tmp_path, {"method": "grid", "parameters": strengths}, **base)
    trials = [found.trial(values).training.penalty for values in found.grid()]
    assert [each.strength for each in trials] == [0.1, 1.0]
    assert next(found.grid())["training.penalty"] == {"kind": "ridge"}
    kinds = {"parameters": {"model": [{"kind": "linear"}, {"kind": "mlp", "hidden": [8]}]}}
    found = loaded(tmp_path, kinds)
    assert [found.trial(each).model.kind for each in found.grid()] == ["linear", "mlp"]


def test_trials_begin_alike(tmp_path: Path) -> None:
    given = {"parameters": {"training.start": ["fresh", "champion"]}}
    gate = ("registry.model=m", "data.test_fraction=0.2")
    with pytest.raises(InputError, match=r"training\.start must be fresh in a sweep"):
        loaded(tmp_path, given, *gate)
