"""The JSON Schema says of a file what reading it says, as far as one key decides."""

import json

import pytest
from jsonschema import Draft202012Validator, ValidationError

from plumbline.config.json_schema import as_json_schema
from plumbline.config.loading import put, read_yaml
from tests.plumbline.tools import ROOT

PAGE = ROOT / "docs" / "configuration.schema.json"
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
VALIDATOR = Draft202012Validator(as_json_schema())


def test_the_file_in_docs_is_the_one_generated():
    assert json.loads(PAGE.read_text()) == as_json_schema()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_names_the_schema_and_is_valid_by_it(path):
    Draft202012Validator.check_schema(VALIDATOR.schema)
    VALIDATOR.validate(read_yaml(path))
    comment, _, named = path.read_text().splitlines()[0].partition("$schema=")
    assert comment == "# yaml-language-server: "
    assert (path.parent / named).resolve() == PAGE


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("tutorial", "training.epoch", 5),
        ("tutorial", "training.epochs", "many"),
        ("tutorial", "data.path", "rows.csv"),
        ("norris", "data.test_fraction", 1.5),
        ("bikes", "model.activation", "cube"),
        ("retraining", "registry.require.test_rsme", {"max": 2.0}),
        ("sweep", "sweep.method", "all"),
        ("sweep", "trainig", {"epochs": 5}),
    ],
)
def test_a_wrong_key_and_a_wrong_value_are_not(name, key, value):
    raw = read_yaml(ROOT / "configs" / f"{name}.yaml")
    put(raw, key, value)
    with pytest.raises(ValidationError):
        VALIDATOR.validate(raw)
