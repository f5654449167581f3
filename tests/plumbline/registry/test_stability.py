"""The population stability index against its sum by hand."""

import json
import math
from dataclasses import asdict

import pytest

from plumbline.registry.stability import PredictionShares, stability_index


def test_the_index_is_the_sum_by_hand_and_the_same_from_both_sides():
    then, now = {"a": 0.5, "b": 0.3, "c": 0.2}, {"a": 0.4, "b": 0.3, "c": 0.3}
    expected = -0.1 * math.log(0.8) + 0.1 * math.log(1.5)
    assert stability_index(then, now, 100, 100) == pytest.approx(expected, rel=1e-12)
    assert stability_index(now, then, 100, 100) == pytest.approx(expected, rel=1e-12)
    assert stability_index(then, then, 100, 900) == 0


def test_a_group_that_is_new_or_gone_counts_as_half_a_row():
    found = stability_index({"a": 1.0}, {"a": 0.75, "b": 0.25}, 50, 200)
    expected = -0.25 * math.log(0.75) + (0.25 - 0.01) * math.log(0.25 / 0.01)
    assert found == pytest.approx(expected, rel=1e-12)
    assert stability_index({"a": 1.0}, {"b": 1.0}, 10, 10) < math.inf


def test_predicted_numbers_are_compared_by_the_tenths_of_then():
    then = PredictionShares.of([float(i) for i in range(100)])
    assert list(then.shares.values()) == pytest.approx([0.1] * 10)
    now = PredictionShares.of([float(i) for i in range(50)] + [1e9] * 50, then)
    assert now.edges == then.edges
    assert now.shares["9"] == 0.5
    by_hand = 4 * (0.005 - 0.1) * math.log(0.005 / 0.1) + (0.5 - 0.1) * math.log(5)
    assert now.index_since(then) == pytest.approx(by_hand, rel=1e-12)
    assert PredictionShares.of([float(i) for i in range(100)], then).index_since(then) == 0


def test_equal_predictions_and_classes_have_shares_too():
    alike = PredictionShares.of([2.0] * 7)
    assert (alike.edges, alike.shares) == ([2.0], {"0": 1.0})
    then, now = PredictionShares.of(["no"] * 3 + ["yes"]), PredictionShares.of(["yes"] * 2)
    assert then.shares == {"no": 0.75, "yes": 0.25}
    assert now.index_since(then) == stability_index(then.shares, now.shares, 4, 2)
    assert PredictionShares(**json.loads(json.dumps(asdict(then)))) == then
