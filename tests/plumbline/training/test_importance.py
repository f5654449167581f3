"""Permutation importance against scikit-learn's, in value."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.inspection import permutation_importance as sklearns
from torch import nn

import plumbline
from plumbline.config.loading import validated
from plumbline.library import Model
from plumbline.training.evaluation import scores
from plumbline.training.importance import permutation_importance

ROWS, REPEATS = 900, 60


def trained(folder: Path, classes: bool, **data: object) -> Model:
    """A linear model of a number that matters, a level that does, and a number that does not."""
    random = np.random.default_rng(0)
    a, idle, noise, weight = random.normal(size=(4, ROWS))
    town = random.choice(["x", "y", "z"], ROWS)
    y = 3 * a + 2 * (town == "y") - 2 * (town == "z") + noise
    columns = {"a": a, "idle": idle, "town": town, "w": weight**2 + 0.1}
    frame = pd.DataFrame({**columns, "y": np.where(y > 1, "yes", "no") if classes else y})
    frame.to_csv(folder / "a.csv", index=False)
    given = {"kind": "table", "path": str(folder / "a.csv"), "target": "y", "test_fraction": 0.5}
    given |= {"categorical": ["town"], "weight": "w", **data}
    return plumbline.train(validated({"experiment": "e", "data": given}, "c.yaml"))


class Rows:
    """The module as scikit-learn takes one: raw columns a and idle, and the place of the town."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def fit(self) -> None:
        """It is."""

    def outputs(self, raw: np.ndarray) -> torch.Tensor:
        town = raw[:, 2:] == [[1, 2]]
        with torch.no_grad():
            return self.module(torch.from_numpy(np.hstack([raw[:, :2], town])).double())


@pytest.mark.parametrize("classes", [False, True])
def test_it_is_scikit_learns_on_weighted_rows_and_permutes_a_column_s_levels_together(
    tmp_path: Path, classes: bool
) -> None:
    model = trained(tmp_path, classes)
    found = permutation_importance(model.module, model.data, seed=1)
    sample = model.data.summary.sample
    towns = (sample.rows[:, 2:4] * torch.tensor([1.0, 2.0])).sum(dim=1, keepdim=True)
    raw = torch.cat([sample.rows[:, :2], towns], dim=1).numpy()
    observed = model.data.observed_classes if classes else sample.rows[:, -1]

    def score(rows: Rows, raw: np.ndarray, y: np.ndarray, sample_weight: np.ndarray) -> float:
        outputs, of = rows.outputs(raw), torch.from_numpy(y)
        if classes:
            errors = nn.functional.cross_entropy(outputs, of, reduction="none").numpy()
            return -np.average(errors, weights=sample_weight)
        errors = (outputs[:, 0] - of).square().numpy()
        return -(np.average(errors, weights=sample_weight) ** 0.5)

    expected = sklearns(
        Rows(model.module), raw, observed.numpy(), scoring=score, n_repeats=REPEATS,
        random_state=0, sample_weight=sample.weights.numpy(),
    )  # fmt: skip
    metric = "test_log_loss" if classes else "test_rmse"
    assert (found.metric, found.rows) == (metric, len(sample.rows))
    assert found.score == pytest.approx(plumbline.evaluate(model)[metric])
    assert [*found.columns] == ["a", "town", "idle"]
    for name, mean, std in zip(
        ("a", "idle", "town"), expected.importances_mean, expected.importances_std, strict=True
    ):
        off = abs(found.columns[name]["mean"] - mean)
        assert off < 4 * std * (1 / found.repeats + 1 / REPEATS) ** 0.5
        assert std / 4 < found.columns[name]["std"] < 3 * std
    assert abs(found.columns["idle"]["mean"]) < 0.01 * found.columns["a"]["mean"]


def test_classes_that_count_alike_do_so_here_too_and_without_held_out_rows_there_is_none(
    tmp_path: Path,
) -> None:
    model = trained(tmp_path, True, class_weight="balanced")
    found = permutation_importance(model.module, model.data, seed=1)
    assert found.score == pytest.approx(plumbline.evaluate(model)["test_log_loss"])
    model = trained(tmp_path, False, test_fraction=0.0)
    assert permutation_importance(model.module, model.data, seed=1) is None


def test_its_score_is_the_recorded_log_loss_also_of_a_model_that_is_too_sure(tmp_path) -> None:
    """Where classes are separated, logits are large, and scikit-learn limits each row's loss."""
    model = trained(tmp_path, classes=True)
    sure = model.module
    sure.load_state_dict({name: 1e3 * each for name, each in sure.state_dict().items()})
    found = permutation_importance(sure, model.data, seed=1)
    assert found.score == pytest.approx(scores("test", sure, model.data)["test_log_loss"])
