"""The schema: its defaults, and keys that must agree with each other."""

import pytest

from plumbline.config.loading import load_config, validated
from plumbline.config.schema import Config, SyntheticData, TableData
from plumbline.errors import InputError

GENERATED = {"kind": "synthetic", "x": [1.0, 2.0]}
TABLE = {"kind": "table", "path": "a.csv", "target": "y"}


def config(**sections: object) -> Config:
    return validated({"experiment": "e", "data": GENERATED, **sections}, "c.yaml")


def refusal(**sections: object) -> str:
    with pytest.raises(InputError) as caught:
        config(**sections)
    return str(caught.value)


def test_left_out_keys_take_their_defaults():
    found = config()
    assert (found.training.epochs, found.training.dtype) == (1000, "float64")
    assert (found.training.learning_rate, found.training.optimizer) == (0.01, "sgd")
    assert (found.data.test_fraction, found.data.seed, found.data.noise) == (0.0, 42, 0.0)


@pytest.mark.parametrize(("data", "expected"), [(GENERATED, False), (TABLE, True)])
def test_tables_are_standardised_and_synthetic_data_is_not(data, expected):
    assert config(data=data).training.standardize is expected
    assert config(data=data, training={"epochs": 5}).training.standardize is expected
    asked = config(data=data, training={"standardize": not expected})
    assert asked.training.standardize is not expected


def test_the_kind_chooses_the_section():
    assert isinstance(config().data, SyntheticData)
    assert isinstance(config(data=TABLE).data, TableData)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"kind": "table", "path": "a.csv"}, "data.target is missing"),
        ({"x": [1.0]}, "data.kind is missing. It must be synthetic or table"),
        ({"kind": "sql"}, "data.kind must be synthetic or table. Got 'sql'"),
        ({"kind": "synthetic"}, "data.x and data.rows must be exactly one of the two. Got neither"),
        (GENERATED | {"rows": 5}, "data.x and data.rows must be exactly one of the two. Got both"),
        (GENERATED | {"x": [[1.0, 2.0], [1.0]]}, "data.x must be rows of one width"),
        (GENERATED | {"weights": [1.0, 2.0]}, "data.weights must be of width 1"),
        (GENERATED | {"features": 3}, "data.features must be of width 1"),
        (GENERATED | {"x_range": [1.0, 1.0]}, "data.x_range must be [low, high] with low < high"),
        (TABLE | {"features": ["y"]}, "data.features must be without the target 'y'"),
        (TABLE | {"categorical": ["y"]}, "data.categorical must be without the target 'y'"),
        (TABLE | {"features": ["a", "a"]}, "data.features must be without duplicates"),
        (TABLE | {"exclude": ["y"]}, "data.exclude must be without the target 'y'"),
        (TABLE | {"features": ["a"], "exclude": ["a"]}, "data.exclude must be without names"),
        (TABLE | {"encoding": "utf-9"}, "data.encoding must be a text encoding that Python knows"),
        (TABLE | {"encoding": "rot13"}, "data.encoding must be a text encoding that Python knows"),
        (TABLE | {"delimiter": ":"}, "data.delimiter must be"),
        (TABLE | {"categorical": {"a": ["u"]}}, "(a list of at least 2 of (non-empty text"),
        (TABLE | {"target": "a|b", "features": ["a|b"]}, "data.features must be without the"),
    ],
)  # fmt: skip
def test_data_keys_that_do_not_agree_are_refused_by_name(data, told):
    assert told in refusal(data=data)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"momentum": 0.9, "optimizer": "adam"}, "training.momentum must be 0 with optimizer adam"),
        ({"weight_decay": 0.1, "optimizer": "lbfgs"}, "training.weight_decay must be 0 with opt"),
        ({"learning_rate": "auto", "loss": "l1"}, "training.learning_rate must be a number with"),
        ({"learning_rate": "auto", "optimizer": "adam"}, "training.learning_rate must be a number"),
        ({"learning_rate": "auto", "batch_size": 8}, "training.learning_rate must be a number"),
        ({"tolerance": 0.1, "weight_decay": 1.0}, "training.tolerance must be null with"),
        ({"tolerance": 0.1, "loss": "huber"}, "training.tolerance must be null with"),
        (
            {"optimizer": "exact", "loss": "l1"},
            "training.loss must be auto or mse with optimizer exact",
        ),
        (
            {"optimizer": "exact", "batch_size": 8},
            "training.batch_size must be null with optimizer "
            "exact (they use all rows at once). Got 8",
        ),
        ({"optimizer": "exact", "weight_decay": 0.1}, "training.weight_decay must be 0 with opt"),
    ],
)
def test_training_keys_that_do_not_agree_are_refused_by_name(keys, told):
    assert told in refusal(training=keys)


@pytest.mark.parametrize("row", [[1.0, 2.0], [], {"a": 1.0, "b": 2.0}])
def test_inputs_of_another_width_are_refused_with_their_place(row):
    message = refusal(prediction={"inputs": [5.0, row]})
    assert f"prediction.inputs[1] must be 1 number(s), one per feature. Got {row}" in message


def test_an_input_that_is_no_value_is_refused_with_its_place():
    assert "prediction.inputs[1] must be" in refusal(prediction={"inputs": [5.0, None]})


@pytest.mark.parametrize(
    ("schedule", "told"),
    [
        ({}, "schedule.on_change must be exactly one of the three. Got none"),
        ({"cron": "0 3 * * *", "every": 60}, "exactly one of the three. Got cron and every"),
        ({"on_change": True, "every": 60}, "exactly one of the three. Got every and on_change"),
        (
            {"every": 9, "at_most_every": 9},
            "schedule.at_most_every must be null or 60.0 with on_change false",
        ),
        ({"every": 0.5}, "schedule.every must be a number >= 1 or null"),
        ({"cron": "0 3 * * *", "timezone": "Mars/Base"}, "schedule.timezone must be a time zone"),
    ],
)
def test_a_wrong_schedule_is_refused(schedule, told):
    assert told in refusal(schedule=schedule)


def test_weights_need_a_loss_that_the_r_factor_knows():
    faded = TABLE | {"window": {"half_life": 3}}
    assert config(data=faded).data.window.half_life == 3
    told = refusal(data=faded, training={"loss": "huber"})
    assert (
        "data.window.half_life must be null with loss huber (only training on the R factor" in told
    )
    assert "half_life" in refusal(data=faded, training={"batch_size": 2})


def test_an_unquoted_date_is_a_date(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(
        "experiment: e\ndata: {kind: table, path: a.csv, target: y, window: {since: 2026-01-01}}\n"
    )
    assert load_config(path).data.window.since == "2026-01-01"
    assert load_config(path, ["data.window.since=2026-02-03"]).data.window.since == "2026-02-03"


@pytest.mark.parametrize("address", ["127.0.0.1:6379", "ray://head.example:10001", None])
def test_a_cluster_is_named_by_host_and_port_or_not_at_all(address):
    assert config(runner="ray", ray={"address": address}).ray.address == address


@pytest.mark.parametrize("address", ["127.0.0.1", "auto", "http://a:1", "a:b", "a:1/x"])
def test_an_address_without_host_and_port_is_refused(address):
    told = refusal(runner="ray", ray={"address": address})
    assert "ray.address must be null, host:port or ray://host:port" in told


def test_workers_of_a_cluster_compute_on_their_cpus():
    config(runner="ray", training={"device": "cpu"})
    told = refusal(runner="ray", training={"device": "cuda"})
    assert "training.device must be auto or cpu with runner ray" in told
