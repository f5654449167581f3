"""The reference says every key, and says it as the schema has it."""

import pytest

from plumbline.config.reference import allowed, as_markdown, as_text, known_keys, lines
from plumbline.config.schema import Config
from tests.plumbline.tools import ROOT

KEYS = known_keys(Config)


def test_every_leaf_of_a_configuration_is_a_known_key():
    raw = {"experiment": "e", "data": {"kind": "synthetic", "x": [1.0]}}
    config = Config.model_validate(raw).model_dump()
    found = {
        f"{section}.{key}" if isinstance(value, dict) else section
        for section, value in config.items()
        for key in (value if isinstance(value, dict) else [""])
    }
    left_out = {key for key in found if any(known.startswith(f"{key}.") for known in KEYS)}
    assert found - left_out <= set(KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_every_key_has_a_meaning_what_it_may_hold_and_a_default(key):
    mine = [line for line in lines(Config) if line[0] == key]
    assert mine
    undescribed = [line for line in mine if not line[3]]
    assert not undescribed
    assert all(what and default for _, what, default, _ in mine)


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_in_the_text_and_in_the_table(key):
    assert f"  {key}: " in as_text(Config)
    assert f"| {key} |" in as_markdown(Config)


def test_every_row_of_the_table_has_four_cells():
    for row in as_markdown(Config).splitlines():
        assert len(row.replace("\\|", "").split("|")) == 6


def test_the_page_in_docs_is_the_one_generated():
    assert as_markdown(Config) in (ROOT / "docs" / "configuration.md").read_text()


@pytest.mark.parametrize(
    ("key", "phrase"),
    [
        ("training.epochs", "an integer >= 1 or auto or null"),
        ("training.learning_rate", "a number > 0 or auto or null"),
        ("training.momentum", "a number >= 0 and < 1"),
        ("training.dtype", "float32 or float64 or bfloat16 or null"),
        ("training.batch_size", "an integer >= 1 or auto or null"),
        ("training.bias", "true or false"),
        ("data.x_range", "a list of exactly 2 of (a number)"),
    ],
)
def test_what_is_allowed_is_said_in_words(key, phrase):
    assert phrase in [allowed(field) for field in KEYS[key]]


def test_the_text_fits_a_terminal():
    assert max(map(len, as_text(Config).splitlines())) <= 92
