"""Every wrong key is refused in one line that names it, what is allowed and what was found."""

from pathlib import Path

import pytest
import yaml

from plumbline.config.loading import load_config, read_yaml, validated
from plumbline.config.schema import Config
from plumbline.errors import InputError
from tests.plumbline.tools import ROOT

BASE = {
    "experiment": "e",
    "data": {"kind": "synthetic", "x": [1.0, 2.0]},
    "training": {},
    "prediction": {},
}


def write(folder: Path, text: str) -> Path:
    path = folder / "c.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder: Path, text: str, overrides: list[str] | None = None) -> str:
    with pytest.raises(InputError) as caught:
        load_config(write(folder, text), overrides or [])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def with_keys(**keys: object) -> str:
    """The base configuration with keys replaced; `section__key` stands for section.key."""
    raw = {name: dict(value) if name != "experiment" else value for name, value in BASE.items()}
    for dotted, value in keys.items():
        section, _, key = dotted.partition("__")
        if not key:
            raw[section] = value
        else:
            raw[section][key] = value
    return yaml.safe_dump(raw)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.name)
def test_every_configuration_that_is_shipped_is_valid_yaml_without_double_keys(path):
    raw = read_yaml(path)
    assert raw
    if "experiment" in raw:
        assert isinstance(load_config(path), Config) or "registry" in raw


NUMBERS = {"1e-3": 1e-3, "1e3": 1e3, "1E+2": 100.0, "1.5e-2": 0.015, "2": 2.0, "+1e-1": 0.1}


@pytest.mark.parametrize(("text", "value"), NUMBERS.items())
def test_the_usual_spellings_of_a_number_are_numbers(text, value, tmp_path):
    assert load_config(write(tmp_path, with_keys()), [f"data.noise={text}"]).data.noise == value


@pytest.mark.parametrize(
    "text",
    ["experiment: a\nexperiment: b\n", "experiment: a\ntraining:\n  epochs: 1\n  epochs: 2\n"],
)
def test_a_key_given_twice_is_refused_with_its_line(text, tmp_path):
    message = refusal(tmp_path, text)
    assert "c.yaml: is not valid YAML: line " in message
    assert "appears twice" in message


WRONG = {
    "training__epochs": (0, "an integer >= 1"),
    "training__momentum": (1.0, "a number >= 0 and < 1"),
    "training__dtype": ("float16", "float32 or float64"),
    "training__optimizer": ("sdg", "sgd or adam"),
    "training__learning_rate": ("fast", "a number > 0 or auto"),
    "training__weight_decay": (-1.0, "a number >= 0"),
    "training__device": ("gpu", "one of auto | cpu | cuda | cuda:N | mps | xpu"),
    "training__bias": ("yes please", "true or false"),
    "training__seed": (-1, "an integer >= 0"),
    "training__tolerance": (0.0, "a number > 0"),
    "training__batch_size": (2.5, "an integer >= 1"),
    "data__test_fraction": (1.0, "a number >= 0 and < 1"),
    "data__folds": (1, "0 or an integer >= 2 and <= 100"),
    "data__noise": (float("inf"), "a number >= 0"),
    "data__x": ([], "a non-empty list"),
    "experiment": ("", "non-empty text"),
    "training": ([1], "a section of keys"),
}


@pytest.mark.parametrize("key", WRONG)
def test_a_wrong_value_is_refused_with_key_allowed_and_found(key, tmp_path):
    value, allowed = WRONG[key]
    message = refusal(tmp_path, with_keys(**{key: value}))
    assert f"c.yaml: {key.replace('__', '.')} must be {allowed}" in message
    assert f"Got {value!r} instead." in message


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("training__learning_rte", "training.learning_rte is not a known key. Did you mean "
         "training.learning_rate?"),
        ("training__noise", "Did you mean data.noise?"),
        ("trainig", "trainig is not a known key. Did you mean training?"),
        ("epochs", "Did you mean training.epochs?"),
        ("seed", "Did you mean data.seed or training.seed?"),
        ("data__optimizer", "Did you mean training.optimizer?"),
        ("training__limit", "Did you mean data.limit?"),
        ("training__alpha", "Known here: training."),
        ("data__target", "data.target is not a known key. It belongs to another kind of data."),
        ("data__window", "data.window is not a known key. It belongs to another kind of data."),
    ],
)  # fmt: skip
def test_an_unknown_key_is_refused_with_the_nearest_known_one(key, told, tmp_path):
    assert told in refusal(tmp_path, with_keys(**{key: 1}))


def test_what_else_is_wrong_is_counted(tmp_path):
    message = refusal(tmp_path, with_keys(training__epochs=0, training__seed=-1))
    assert message.endswith("(1 more error)")


@pytest.mark.parametrize("text", ["", "- 1\n- 2\n", "hello", "a: [1, 2\n", "\t x: 1", "a: 1: 2"])
def test_a_file_that_holds_no_keys_is_refused_by_name(text, tmp_path):
    assert "c.yaml: " in refusal(tmp_path, text)


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"gone\.yaml: cannot be read"):
        load_config(tmp_path / "gone.yaml")


def test_bytes_that_are_no_text_are_refused_by_name(tmp_path):
    (tmp_path / "c.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"c\.yaml: is not valid YAML"):
        load_config(tmp_path / "c.yaml")


def test_the_key_on_is_a_name_also_where_it_is_not_quoted(tmp_path):
    for text in ("{to: [json://a], on: [success]}", "\n  to: [json://a]\n  on: [success]"):
        config = load_config(write(tmp_path, f"{with_keys()}\nnotify: {text}"))
        assert config.notify.on == ["success"]


def test_a_text_is_no_list_of_overrides(tmp_path):
    path = write(tmp_path, with_keys())
    with pytest.raises(InputError, match="overrides must be a list of texts key=value"):
        load_config(path, "training.epochs=5")


def test_overrides_replace_and_add_keys_and_the_last_one_wins(tmp_path):
    given = ["training.epochs=5", "data.x=[3, 4]", "training.epochs=7", "prediction.inputs=[2]"]
    config = load_config(
        write(tmp_path, "experiment: e\ndata: {kind: synthetic, x: [1.0]}\n"), given
    )
    assert (config.training.epochs, config.data.x) == (7, [3.0, 4.0])
    assert config.prediction.inputs == [2.0]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("training.epochs", "an override must be written key=value. Got 'training.epochs'"),
        ("=5", "an override must be written key=value"),
        ("training.epochs=x", "training.epochs must be an integer >= 1 or auto or null. Got 'x'"),
        ("training.epochs=[1", "training.epochs: is not valid YAML"),
        ("data.x=[1,", "needs quotes of its own: SET=\"'data.x=[1, 2]'\"."),
        ("experiment.name=x", "experiment.name must be a key inside a section"),
        ("training.epohcs=5", "Did you mean training.epochs?"),
    ],
)
def test_a_wrong_override_is_refused_by_its_key(override, told, tmp_path):
    assert told in refusal(tmp_path, with_keys(), [override])


def test_anchors_and_merged_sections_are_yaml_like_any_other(tmp_path):
    text = "experiment: e\ndata: &d {kind: synthetic, x: [1.0]}\n"
    assert load_config(write(tmp_path, text + "training: {epochs: 3}\n")).training.epochs == 3
    merged = "experiment: e\ndata:\n  <<: {kind: synthetic, x: [1.0]}\n  bias: 2.0\n"
    assert load_config(write(tmp_path, merged)).data.bias == 2.0


def test_no_mapping_is_refused_by_its_source():
    with pytest.raises(InputError, match=r"^trial 3: "):
        validated({"experiment": "e"}, "trial 3")


def test_an_impossible_date_and_a_name_too_long_for_mlflow_are_refused(tmp_path):
    text = "experiment: 2020-99-99\n"
    assert "month must be in 1..12" in refusal(tmp_path, text)
    assert "month must be in 1..12" in refusal(tmp_path, with_keys(), ["experiment=2020-99-99"])
    assert "at most 500 characters" in refusal(tmp_path, with_keys(experiment="x" * 501))
    assert load_config(write(tmp_path, with_keys(experiment="x" * 500)))


ODD = {
    "5,000 digits": ("9" * 5_000, "must be an integer >= 1 or auto or null. Got inf instead"),
    "5,000 hexadecimal digits": (
        "0x" + "f" * 5_000,
        "must be an integer >= 1 or auto or null. Got inf instead",
    ),
    "beyond 64 bits": (str(2**63), "must be an integer >= 1 or auto or null. Got 9.22"),
    "nested": ("[" * 20_000, "is nested too deeply"),
    "nested and closed": ("[" * 20_000 + "]" * 20_000, "is nested too deeply"),
    "a tag's date that is none": ("!!timestamp x", "is not valid YAML"),
    "a tag's boolean that is none": ("!!bool x", "is not valid YAML"),
    "a tag's integer that is none": ("!!int ''", "is not valid YAML"),
    "a list in itself": ("&a [*a]", "is not valid YAML: Circular reference"),
}


@pytest.mark.parametrize(("value", "told"), ODD.values(), ids=ODD.keys())
def test_odd_values_are_refused_in_one_line_wherever_they_stand(value, told, tmp_path):
    override = refusal(tmp_path, with_keys(), [f"training.epochs={value}"])
    in_file = refusal(tmp_path, with_keys(training__epochs="HERE").replace("HERE", value))
    assert told in override
    assert told in in_file
    assert len(override + in_file) < 500


def test_whole_numbers_beyond_64_bits_are_floating_point_numbers(tmp_path):
    found = load_config(write(tmp_path, with_keys()), ["data.bias=1" + "0" * 22])
    assert found.data.bias == 1e22


@pytest.mark.parametrize("key", ["data.encoding", "schedule.timezone"])
@pytest.mark.parametrize("name", ['"a\\0b"', "a" * 700, "America"])
def test_names_that_python_cannot_look_up_are_refused(key, name, tmp_path):
    data = {"kind": "table", "path": "a.csv", "target": "y"}
    text = with_keys(data=data, schedule={"cron": "0 3 * * *"}, registry={"model": "m"})
    message = refusal(tmp_path, text, [f"{key}={name}"])
    assert key in message
    assert message.isprintable()
