"""The gates' keys: their defaults, and what does not go together."""

import pytest

from plumbline.config.loading import validated
from plumbline.config.schema import Config
from plumbline.errors import InputError

DATA = {"kind": "synthetic", "rows": 100, "test_fraction": 0.2}


def config(data: dict = DATA, **sections: object) -> Config:
    return validated({"experiment": "e", "data": data, **sections}, "c.yaml")


def refusal(data: dict = DATA, **sections: object) -> str:
    with pytest.raises(InputError) as caught:
        config(data, **sections)
    return str(caught.value)


def test_left_out_nothing_is_registered_and_nothing_compared():
    assert (config().registry, config().drift) == (None, None)


def test_only_the_model_is_needed():
    found = config(registry={"model": "ozone"}).registry
    assert (found.metric, found.min_improvement, found.keep) == ("test_rmse", 1e-4, 20)
    assert list(found.limits()) == []


def test_thresholds_are_read_in_order():
    require = {"test_r2": {"min": 0.5}, "test_rmse": {"max": 2}}
    found = config(registry={"model": "m", "require": require}).registry
    assert [(name, limit.min, limit.max) for name, limit in found.limits()] == [
        ("test_rmse", None, 2.0),
        ("test_r2", 0.5, None),
    ]


@pytest.mark.parametrize(
    ("registry", "told"),
    [
        ({}, "registry.model is missing"),
        ({"model": "a/b"}, "registry.model must be of letters"),
        ({"model": "a@b"}, "registry.model must be of letters"),
        ({"model": "a "}, "registry.model must be of letters"),
        ({"model": "a..b"}, "registry.model must be of letters"),
        ({"model": "m", "metrik": "mae"}, "Did you mean registry.metric?"),
        ({"model": "m", "metric": "train_rmse"}, "registry.metric must be test_rmse or test_mse"),
        ({"model": "m", "keep": 0}, "registry.keep must be an integer >= 1"),
        ({"model": "m", "min_improvement": 1.0}, "registry.min_improvement must be a number >= 0"),
        ({"model": "m", "require": {"tset_rmse": {"max": 1}}}, "Did you mean registry.require.tes"),
        ({"model": "m", "require": {"mae": {"mx": 1}}}, "mean registry.require.test_mae.max?"),
        ({"model": "m", "require": {"mae": {}}}, "require.test_mae must be a min, a max or"),
        ({"model": "m", "require": {"mae": {"min": 2, "max": 1}}}, "require.test_mae must be"),
        ({"model": "m", "require": {"mae": {"max": float("nan")}}}, "registry.require.test_mae.m"),
        ({"model": "m", "require": {"linear_cv_rmse_mean": {"max": 1}}}, "folds must be above 0"),
        ({"model": "m", "require": {"cv_rmse_mean": {"max": 1}}},
         "registry.require.cv_rmse_mean must be linear_cv_rmse_mean (its name now, because it is "
         "the cross-validation of the exact unpenalised fit, whatever was trained)"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_registry_is_said_by_its_key(registry, told):
    assert told in refusal(registry=registry)


def test_a_gate_without_held_out_rows_is_refused():
    told = refusal({"kind": "synthetic", "rows": 100}, registry={"model": "m"})
    assert "data.test_fraction must be above 0 or cut with registry" in told


def test_drift_needs_a_champion_to_compare_with():
    assert "drift must be null without registry" in refusal(drift={"action": "stop"})
    both = config(registry={"model": "m"}, drift={"action": "stop"})
    assert (both.drift.max_shift, both.drift.action) == (0.5, "stop")


def test_mae_is_the_former_name_of_test_mae():
    require = {"mae": {"max": 1}}
    found = config(registry={"model": "m", "metric": "mae", "require": require}).registry
    assert found.metric == "test_mae"
    assert [(name, limit.max) for name, limit in found.limits()] == [("test_mae", 1.0)]
    both = {"mae": {"max": 1}, "test_mae": {"max": 2}}
    told = refusal(registry={"model": "m", "require": both})
    assert "registry.require must be one limit per metric. Got mae twice" in told


def test_a_config_that_was_written_down_reads_the_same():
    for sections in ({}, {"registry": {"model": "m", "require": {"mae": {"max": 1}}}}):
        once = config(**sections)
        assert validated(once.model_dump(), "again") == once


def test_the_metric_is_of_the_targets_type():
    table = {"kind": "table", "path": "a.csv", "target": "y", "test_fraction": 0.2}
    found = config(table, registry={"model": "m"})
    assert found.registry.metric == "auto"
    assert found.of_target(classes=True).registry.metric == "test_log_loss"
    assert found.of_target(classes=False).registry.metric == "test_rmse"
    for registry in ({"metric": "test_rmse"}, {"require": {"test_rmse": {"max": 1}}}):
        found = config(table, registry={"model": "m", **registry})
        with pytest.raises(ValueError, match="since the target has classes"):
            found.of_target(classes=True)
