"""The decision: each rule alone, in its order, at its edge."""

import math

import pytest
import torch

from plumbline.config.running import Registry
from plumbline.config.schema import Split
from plumbline.data.split import row_hashes
from plumbline.registry.gate import Champion, Decision, decide, improvement
from plumbline.training.evaluation import held_out_scores, mean_model
from tests.plumbline.tools import compressed, random_rows

MEAN = {"test_mse": 4.0, "test_rmse": 2.0, "test_r2": 0.0, "test_mae": 1.6}


def scores(rmse: float) -> dict[str, float]:
    return {
        "test_mse": rmse**2,
        "test_rmse": rmse,
        "test_r2": 1 - rmse**2 / 4,
        "test_mae": 0.8 * rmse,
    }


def ask(
    rmse: float, champion: float | Champion | None, blocked: str = "", **rules: object
) -> Decision:
    if isinstance(champion, float):
        champion = Champion(3, scores(champion))
    found = Registry(model="m", **rules).of_target(classes=False)
    return decide(found, scores(rmse), MEAN, champion, blocked)


def test_the_first_model_needs_only_the_thresholds():
    assert ask(9.0, None).promoted
    assert not ask(9.0, None, require={"test_rmse": {"max": 8.0}}).promoted


@pytest.mark.parametrize(
    ("limit", "kept"),
    [
        ({"test_rmse": {"max": 1.0}}, True),
        ({"test_rmse": {"max": 0.999}}, False),
        ({"test_r2": {"min": 0.75}}, True),
        ({"test_r2": {"min": 0.751}}, False),
        ({"test_r2": {"min": 0.5, "max": 0.7}}, False),
    ],
)
def test_a_threshold_holds_at_its_edge_and_not_beyond(limit, kept):
    found = ask(1.0, None, require=limit)
    assert found.promoted is kept
    assert kept or next(iter(limit)) in found.reason


def test_a_threshold_on_a_metric_that_is_not_known_is_not_kept():
    rules = Registry(model="m", require={"test_rmse": {"max": 1.0}})
    found = decide(rules, {"train_mse": 0.1}, {}, None)
    assert not found.promoted
    assert "test_rmse is not known (no row was held out)" in found.reason
    rules = Registry(model="m", require={"best_epoch": {"max": 9}})
    found = decide(rules, scores(0.1), scores(1.0), None)
    assert "best_epoch is not known (this run has none)" in found.reason


def test_infinite_predictions_are_no_reason_to_promote_even_the_first_model():
    found = decide(Registry(model="m"), {"train_rmse": 0.1}, MEAN, None)
    assert (found.promoted, "infinite" in found.reason) == (False, True)


@pytest.mark.parametrize(("rmse", "promoted"), [(1.999, True), (2.0, False), (2.5, False)])
def test_it_must_beat_predicting_the_mean(rmse, promoted):
    found = ask(rmse, 50.0)
    assert found.promoted is promoted
    assert promoted or "predicting the mean" in found.reason


@pytest.mark.parametrize(
    ("rmse", "asked", "promoted"),
    [
        (0.999, 0.0, True),
        (1.0, 0.0, False),  # an equal is no better
        (1.001, 0.0, False),
        (0.75, 0.25, True),  # exactly as much as asked
        (0.751, 0.25, False),
        (1.2, 0.25, False),
    ],
)
def test_it_must_beat_the_champion_by_as_much_as_is_asked(rmse, asked, promoted):
    found = ask(rmse, 1.0, min_improvement=asked)
    assert found.promoted is promoted
    assert found.margin == pytest.approx(1 - rmse, abs=1e-12)
    assert "version 3" in found.reason or "champion" in found.reason


@pytest.mark.parametrize("metric", ["test_rmse", "test_mse", "test_r2", "test_mae"])
def test_better_is_better_in_every_metric(metric):
    assert ask(0.9, 1.0, metric=metric).promoted
    assert not ask(1.1, 1.0, metric=metric).promoted


def test_a_champion_that_cannot_be_compared_stays():
    found = ask(0.1, Champion(3, problem="today's data has no numeric feature 'x'"))
    assert (found.promoted, found.margin) == (False, None)
    assert "'x'" in found.reason


@pytest.mark.parametrize(
    ("rmse", "recorded", "promoted", "told"),
    [
        (0.9, 1.0, True, "no worse: test_rmse 0.9 against 1 recorded when it was registered"),
        (1.000009, 1.0, True, "no worse"),  # equal
        (1.00002, 1.0, False, "worse"),
        (0.1, None, False, "no test_rmse of it is recorded"),
    ],
)
def test_a_damaged_champion_is_replaced_only_by_a_model_no_worse_than_its_recorded_scores(
    rmse, recorded, promoted, told
):
    damaged = Champion(3, scores(recorded) if recorded else {}, "no zip file", damaged=True)
    found = ask(rmse, damaged, min_improvement=0.9)
    assert found.promoted is promoted
    assert "version 3 cannot be loaded (no zip file)" in found.reason
    assert told in found.reason


def test_a_damaged_champion_lifts_no_other_rule():
    damaged = Champion(3, scores(9.0), "no zip file", damaged=True)
    assert ask(0.1, damaged).promoted
    assert not ask(2.1, damaged).promoted
    assert not ask(0.1, damaged, require={"test_mae": {"max": 0.01}}).promoted


@pytest.mark.parametrize("metric", ["test_rmse", "test_r2", "test_mae"])
def test_scores_within_1e_5_of_each_other_are_equal_whatever_is_asked(metric):
    for asked in (0.0, 1e-9, 0.5):
        found = ask(1 - 3e-6, 1.0, metric=metric, min_improvement=asked)
        assert (found.promoted, "equal to 1e-5" in found.reason) == (False, True)
    assert ask(1 - 2e-4, 1.0, metric=metric).promoted
    assert ask(1 - 3e-5, 1.0, metric=metric, min_improvement=0).promoted
    found = ask(1 - 2e-5, 1.0, metric="test_rmse")
    assert "less than 0.010% (registry.min_improvement)" in found.reason


def test_a_model_that_equals_the_mean_to_rounding_does_not_beat_it():
    assert not ask(2 - 1e-7, 50.0).promoted


def test_what_is_barred_is_kept_however_good_and_even_as_the_first():
    assert ask(0.1, 1.0, blocked="it was rolled back").reason == "it was rolled back"
    assert not ask(0.1, None, blocked="it was rolled back").promoted


def test_without_held_out_rows_nothing_is_compared():
    found = decide(Registry(model="m"), {"train_mse": 0.1}, {}, Champion(1, scores(1.0)))
    assert not found.promoted


def test_improvement_is_a_share_of_the_old_value():
    assert improvement("test_mae", 0.9, 1.0) == pytest.approx(0.1)
    assert improvement("test_r2", 0.9, 0.8) == pytest.approx(0.125)
    assert improvement("test_r2", -0.1, -0.2) == pytest.approx(0.5)
    assert improvement("test_mae", 0.0, 0.0) == 0.0
    assert improvement("test_mae", 1.0, 0.0) == -math.inf
    assert improvement("test_r2", 0.1, 0.0) == math.inf


def test_predicting_the_mean_scores_what_the_rows_say():
    rows = random_rows(500, 3, far=1e6)
    split = Split(test_fraction=0.3)
    data = compressed(rows, split)
    held = row_hashes(split.seed, "rows", 0, len(rows), "test") < split.test_fraction
    y, train = rows[held][:, -1], rows[~held][:, -1]
    found = held_out_scores(mean_model(data), data)
    assert found["test_mse"] == pytest.approx(float((y - train.mean()).square().mean()), rel=1e-9)
    assert found["test_mae"] == pytest.approx(float((y - train.mean()).abs().mean()), rel=1e-9)
    assert found["test_r2"] <= 0
    assert torch.equal(mean_model(data).weights, torch.zeros(3, dtype=torch.float64))


def test_classes_must_beat_their_shares_and_the_champion_in_log_loss():
    rules = Registry(model="m").of_target(classes=True)

    def ask_of(log_loss: float, champion: Champion | None = None) -> Decision:
        return decide(rules, {"test_log_loss": log_loss}, {"test_log_loss": 0.7}, champion)

    champion = Champion(3, {"test_log_loss": 0.5})
    assert rules.metric == "test_log_loss"
    assert ask_of(0.4, champion).promoted
    assert not ask_of(0.6, champion).promoted
    told = ask_of(0.7, champion).reason
    assert "no better than predicting the classes' shares of the training rows" in told
