"""The table of combinations is what the schema refuses, and what the reference says."""

import itertools
from typing import Any

import pytest

from plumbline.config.combinations import (
    ABOVE_0,
    GIVEN,
    NUMBER,
    OPTIMIZERS,
    RULES,
    Rule,
)
from plumbline.config.loading import put, validated
from plumbline.config.reference import rules_as_markdown
from plumbline.config.schema import Config
from plumbline.errors import InputError
from tests.plumbline.tools import ROOT

# Values of each key that a rule names, those that it may allow first.
VALUES: dict[str, tuple[Any, ...]] = {
    "training.loss": ("auto", "mse", "huber", "poisson", "cross_entropy"),
    "training.rate_schedule": ("constant", "cosine"),
    "training.warmup": (0, 0.1),
    "training.clip_norm": (None, 1.0),
    "training.patience": (None, 0, 3),
    "training.dtype": ("float32", "float64", "bfloat16"),
    "training.bias": (True, False),
    "data.validation_fraction": (0.1, 0.0),
    "model.kind": ("linear", "python"),  # alike in their defaults
    "training.batch_size": (None, 8),
    "training.weight_decay": (0, 0.1),
    "model.exact_head": (False, True),
    "model.ensemble": (1, 3),
    "prediction.interval": (None, 0.9),
    "prediction.explain": ("auto", False, True),
    "data.test_fraction": (0.2, 0.0),
    "data.split.cut": (None, 3.0),
    "data.split.by": ("rows", "time"),
    "data.folds": (0, 2),
    "drift": (None, {}),
    "registry": (None, {"model": "m"}),
    "registry.require.linear_cv_rmse_mean": (None, {"max": 1.0}),
    "registry.require.linear_cv_rmse_std": (None, {"max": 1.0}),
    "schedule.at_most_every": (60.0, 9.0),
    "training.penalty.kind": (None, "lasso", "elastic_net"),
    "training.penalty.l1_ratio": (None, 0.3),
    "training.momentum": (0, 0.5),
    "training.learning_rate": (0.1, "auto"),
    "training.tolerance": (None, 0.1),
    "training.optimizer": OPTIMIZERS,
    "training.device": ("auto", "cpu", "cuda"),
    "data.log_target": (False, True),
    "data.class_weight": ("none", "balanced"),
    "data.window.half_life": (None, 3),
    "training.start": ("fresh", "champion"),
    "registry.model": ("m", None),
    "data.kind": ("table", "synthetic"),
    "schedule.on_change": (False, True),
    "runner": ("threads", "ray"),
    "ray.workers": (None, 2),
}
PAIRS = [
    (rule, value, other)
    for rule in RULES
    for value, other in itertools.product(VALUES[rule.key], VALUES[rule.other])
]


def config(**values: Any) -> Config:
    """An experiment with these dotted keys."""
    raw: dict[str, Any] = {
        "experiment": "e",
        "data": {"kind": "table", "path": "a.csv", "target": "y"},
        "training": {},
        "runner": "ray" if "ray.workers" in values else "threads",
        "prediction": {},
    }
    asked, values = values, {key: value for key, value in values.items() if value is not None}
    if values.pop("model.kind", "linear") == "python" or "model.exact_head" in values:
        raw["model"] = {"kind": "python", "file": "net.py"}
        raw["data"]["validation_fraction"] = 0.1
    if "model.ensemble" in values:
        raw["model"] = {"kind": "mlp"}
    if "training.penalty.l1_ratio" in asked:
        raw["training"]["optimizer"] = "exact"
        if "training.penalty.kind" not in values:
            values.pop("training.penalty.l1_ratio", None)
    champion = values.get("training.start") == "champion" and "registry.model" not in asked
    if champion or any(key.startswith("registry") for key in values):
        raw["registry"], raw["data"]["test_fraction"] = {"model": "m"}, 0.2
    if any(key.startswith("schedule") for key in values):
        on_change = values.pop("schedule.on_change", True)
        raw["schedule"] = {"on_change": True} if on_change else {"every": 9}
    if "data.split.cut" in values:
        raw["data"]["split"] = {"by": "time", "column": "t"}
    if values.get("data.kind") == "synthetic":
        raw["data"] = {"kind": "synthetic", "rows": 4}
    for key, value in values.items():
        put(raw, key, value)
    return validated(raw, "c.yaml")


def free(rule: Rule, value: Any, other: Any) -> bool:
    """Whether this rule lets the two values stand together."""
    number = NUMBER in rule.allowed and not isinstance(value, str)
    above_0 = (ABOVE_0 in rule.allowed and value > 0) or (ABOVE_0 in rule.unless and other > 0)
    given = GIVEN in rule.unless and other is not None
    return other in rule.unless or value in rule.allowed or number or above_0 or given


@pytest.mark.parametrize(("rule", "value", "other"), PAIRS)
def test_a_pair_is_refused_exactly_if_a_rule_says_so(rule: Rule, value: Any, other: Any) -> None:
    given = {rule.key: value, rule.other: other}
    rules = [r for r in RULES if {r.key, r.other} == given.keys()]
    if all(free(r, given[r.key], given[r.other]) for r in rules):
        assert config(**given)
        return
    with pytest.raises(InputError) as caught:
        config(**given)
    assert any(f"{r.key} must be {r.allowed_text} with" in str(caught.value) for r in rules)
    assert any(f"({r.why})" in str(caught.value) for r in rules)


def test_the_reference_has_the_table() -> None:
    assert rules_as_markdown() in (ROOT / "docs" / "configuration.md").read_text()


def test_a_strength_chosen_by_folds_asks_for_some() -> None:
    keys = {"training.optimizer": "exact", "training.penalty.kind": "ridge"}
    assert config(**keys).data.folds == 10
    assert config(**keys, **{"data.folds": 4}).data.folds == 4
    assert config().data.folds == 0


def test_every_default_goes_with_every_other() -> None:
    assert config() == config().resolved()
