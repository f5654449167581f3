"""One trial: the pipeline's result, or the reason why there is none."""

import pytest
import torch

from plumbline.config.schema import Config, SyntheticData, Training
from plumbline.data.sources import Synthetic
from plumbline.linear.compress import compress
from plumbline.linear.dataset import Dataset
from plumbline.linear.summary import combine
from plumbline.training.experiment import attempt
from plumbline.training.loop import train_linear
from plumbline.training.plan import make_plan
from plumbline.training.trained import Status

DATA = {"kind": "synthetic", "rows": 200, "weights": [1.0, -2.0, 0.5], "noise": 0.1}


def prepared(data: SyntheticData) -> Dataset:
    source = Synthetic(data)
    whole = combine([compress(source, part, data) for part in source.parts])
    return Dataset.of(whole, data, source, {})


def config(**training: object) -> Config:
    return Config.model_validate({"experiment": "t", "data": DATA, "training": training})


def test_a_trial_trains_as_the_pipeline_does() -> None:
    given = config(epochs=50, learning_rate=0.1)
    data = prepared(given.data)
    outcome = attempt(given, data, "cpu")
    direct = train_linear(
        make_plan(data.summary, given.training), given.training, "cpu", lambda *_: None
    )
    assert outcome.status is Status.COMPLETED
    assert not outcome.error
    assert outcome.losses == direct.losses
    assert torch.equal(outcome.trained.module.weights, direct.module.weights)
    assert outcome.metrics["train_mse"] >= outcome.metrics["optimal_mse"]


@pytest.mark.parametrize(
    ("training", "reason", "epochs"),
    [
        ({"learning_rate": 1e6}, r"training.learning_rate must be at most", 0),
        ({"learning_rate": 1e300, "optimizer": "adamw"}, r"TrainingDivergedError", 1),
    ],
)
def test_a_trial_that_fails_says_why_and_keeps_its_losses(
    training: dict, reason: str, epochs: int
) -> None:
    given = config(epochs=100, **training)
    outcome = attempt(given, prepared(given.data), "cpu")
    assert outcome.status is Status.FAILED
    assert outcome.error.startswith(reason)
    assert outcome.trained is None
    assert len(outcome.losses) >= epochs


def validated() -> Config:
    """An experiment with a validation loss."""
    data = {**DATA, "validation_fraction": 0.3}
    return Config.model_validate({"experiment": "t", "data": data, "training": {"epochs": 9}})


def test_an_interruption_is_no_outcome() -> None:
    def interrupt(epoch: int, loss: float) -> None:
        raise KeyboardInterrupt

    given = validated()
    with pytest.raises(KeyboardInterrupt):
        attempt(given, prepared(given.data), "cpu", interrupt)


def test_a_trial_that_is_poor_ends_there_with_its_losses() -> None:
    given = validated()
    outcome = attempt(given, prepared(given.data), "cpu", lambda epoch, loss: epoch == 3)
    assert outcome.status is Status.PRUNED
    assert outcome.error == "worse than the median of earlier trials after epoch 3"
    assert {name: len(curve) for name, curve in outcome.curves.items()} == {
        "loss": 3,
        "validation_loss": 3,
    }


def test_trials_on_the_same_rows_share_what_does_not_depend_on_training() -> None:
    folds = {**DATA, "folds": 4}
    first = Config.model_validate({"experiment": "t", "data": folds, "training": {"epochs": 2}})
    data, other = prepared(first.data), prepared(first.data)
    second = first.model_copy(update={"training": Training(epochs=3, optimizer="adam")})
    found = [attempt(config, data, "cpu") for config in (first, second)]
    alone = attempt(second, other, "cpu")
    assert found[0].trained.exact.optimum is found[1].trained.exact.optimum
    assert alone.trained.exact.optimum is not found[1].trained.exact.optimum
    assert found[1].metrics == alone.metrics
