"""What a person is told while a model is trained and once it is."""

import pytest

from plumbline.config.schema import Config
from plumbline.data.synthetic import Synthetic
from plumbline.linear.compress import compress
from plumbline.linear.dataset import Dataset
from plumbline.linear.summary import combine
from tasks.modelling import evaluate, train

NOISY = {"rows": 200, "weights": [1.0, -20.0, 0.5], "noise": 0.1}
LINE = {"x": [1.0, 2.0, 3.0, 4.0], "weights": [2.0]}


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]):
    """Trains and evaluates one experiment; returns the lines that it prints."""

    def say(data: dict, **training: object) -> list[str]:
        raw = {"experiment": "t", "data": {"kind": "synthetic", **data}, "training": training}
        config = Config.model_validate(raw)
        source = Synthetic(config.data)
        whole = combine([compress(source, part, config.data) for part in source.parts])
        prepared = Dataset.of(whole, config.data, source, {})
        trained = train.fn(prepared, config, "cpu", lambda epoch, loss: None)
        evaluate.fn(trained, prepared, config)
        return capsys.readouterr().out.splitlines()

    return say


def test_where_training_stops_the_loss_after_the_last_step_is_said(said) -> None:
    """An orthogonal problem at its best rate takes one step from anywhere to the optimum."""
    lines = said({"x": [1.0, -1.0], "weights": [300.0]}, learning_rate="auto", tolerance=1e-9)
    assert lines[-2].startswith("Epoch [1/1000], Loss: ")
    assert float(lines[-2].split()[-1]) > 1e4
    assert lines[-1].startswith("Note: stopped after epoch 1, whose step brought the loss to ")
    assert float(lines[-1].partition("loss to ")[2].partition(":")[0]) < 1e-9


@pytest.mark.parametrize("most", [1, 100, 150])
def test_no_epoch_is_printed_twice_where_training_stops(said, most: int) -> None:
    keys = {"learning_rate": 0.1, "tolerance": 1e9 if most == 1 else 1e-300}
    lines = said(NOISY, epochs=most, **keys)
    epochs = [line for line in lines if line.startswith("Epoch")]
    assert len(epochs) == len(set(epochs)) == 1 + (most > 100)


def test_the_closed_form_says_what_it_does_not_need_and_its_loss(said) -> None:
    keys = {"learning_rate": 0.01, "momentum": 0.5, "epochs": 1000, "tolerance": 1e-6}
    assert said(LINE, optimizer="exact", **keys) == [
        "Note: training.optimizer is exact, so these have no effect: learning_rate, momentum, "
        "epochs, tolerance",
        "Epoch [1/1], Loss: 0.0000",
    ]
    assert said(LINE, optimizer="exact") == ["Epoch [1/1], Loss: 0.0000"]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_model_far_from_its_optimum_is_said_in_one_line(said, optimizer: str) -> None:
    warned = [line for line in said(NOISY, epochs=3, optimizer=optimizer) if "arning" in line]
    assert len(warned) == 1
    assert warned[0].startswith("Warning: this model is far from the exact optimum: MSE ")
    assert "training.optimizer=exact" in warned[0]
    assert ("training.epochs=" in warned[0]) == (optimizer == "sgd")


def test_the_tutorial_prints_nothing_but_its_lines(said) -> None:
    assert len(said(LINE, dtype="float32")) == 10
