"""What a person is told while a model is trained and once it is."""

import re

import pytest
import torch
from mlflow import MlflowClient

from plumbline import library
from plumbline.config.loading import validated
from plumbline.config.schema import Config
from plumbline.data.sources import Synthetic
from plumbline.linear.compress import compress
from plumbline.linear.dataset import Dataset
from plumbline.linear.summary import combine
from plumbline.training.nets import with_budget
from tasks.modelling import evaluate, find_start, train
from tasks.screen import print_gain
from tasks.tracking.run import Run, tracked_run
from tests.tasks.test_registry import add, logged

NOISY = {"rows": 200, "weights": [1.0, -20.0, 0.5], "noise": 0.1}
LINEAR, NET = {"kind": "linear"}, {"kind": "mlp", "hidden": [8]}
LINE = {"x": [1.0, 2.0, 3.0, 4.0], "weights": [2.0]}
TUNED_RAW = {
    "experiment": "tuned",
    "data": {"kind": "synthetic", "rows": 20, "test_fraction": 0.3},
    "training": {"start": "champion", "epochs": 2},
    "registry": {"model": "m"},
}
TUNED = validated(TUNED_RAW, "c.yaml")
TUNED_DATA = library.read(TUNED.data, "cpu")


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]):
    """Trains and evaluates one experiment; returns the lines that it prints."""

    def say(data: dict, model: dict = LINEAR, **training: object) -> list[str]:
        raw = {"experiment": "t", "data": {"kind": "synthetic", **data}, "training": training}
        raw["model"] = model
        config = Config.model_validate(raw)
        source = Synthetic(config.data)
        whole = combine([compress(source, part, config.data) for part in source.parts])
        prepared = Dataset.of(whole, config.data, source, {})
        config = with_budget(config, prepared.summary.train.rows)
        trained = train.fn(prepared, config, "cpu", lambda epoch, loss, **others: None)
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


def test_a_net_prints_ten_lines_what_stopped_it_what_was_kept_and_what_it_is_worth(said) -> None:
    lines = said({**NOISY, "test_fraction": 0.3}, NET, epochs=50, batch_size=32, patience=0)
    assert [each.partition(",")[0] for each in lines[1:11]] == [
        f"Epoch [{n}/50]" for n in range(5, 51, 5)
    ]
    assert re.fullmatch(
        r"[\d,.]+( % (better|worse) than| times the RMSE of) the exact linear model on the same "
        r"\d+ rows",
        lines[-1],
    )
    held = {**NOISY, "validation_fraction": 0.3}
    lines = said(held, NET, epochs=400, batch_size=32, patience=2, learning_rate=0.1)
    assert re.fullmatch(r"Epoch \[\d+/400\], Loss: [\d.]+, Validation loss: [\d.]+", lines[-3])
    assert re.fullmatch(
        r"Note: stopped after epoch \d+: no better validation loss for 2 epochs", lines[-2]
    )
    assert re.fullmatch(
        r"Note: the weights of epoch \d+ are kept: the lowest validation loss, [\d.]+", lines[-1]
    )


def test_a_budget_that_the_rows_decide_is_said(said) -> None:
    assert said(NOISY, NET, patience=0)[0] == "Note: batches of 32 rows, at most 200 epochs"


@pytest.mark.parametrize(
    ("rmse", "told"),
    [
        (0.877, "12.3 % better than"),
        (1.0316, "3.2 % worse than"),
        (1.0004, "As good as"),
        (9e12, "9e+12 times the RMSE of"),
    ],
)
def test_the_worth_of_a_model_is_one_line(capsys, rmse: float, told: str) -> None:
    metrics = {"test_rmse": rmse, "linear_test_rmse": 1.0, "gain_over_linear": 1 - rmse}
    line = f"{told} the exact linear model on the same 10,788 rows"
    for mean, beside in ((2.0, ""), (0.9, ", which is worse there than mean_test_rmse")):
        print_gain({**metrics, "mean_test_rmse": mean}, 10_788)
        assert capsys.readouterr().out == f"{line}{beside}\n"
    print_gain({"train_rmse": 1.0}, 0)
    assert capsys.readouterr().out == ""


def started_from(run: Run) -> str:
    return run.client.get_run(run.id).data.tags["started_from"]


def test_what_training_goes_on_from_is_a_tag_by_which_a_resumed_run_finds_it_again(
    client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    add(of=logged(config=TUNED))
    with tracked_run(TUNED, "a run", "cpu", "flow", "lease") as run:
        start = find_start(run, TUNED, TUNED_DATA)
        assert start.module(torch.full((2, 1), 4.0, dtype=torch.float64)).tolist() == [[4.5]] * 2
        add(of=logged(config=TUNED))
        assert find_start(run, TUNED, TUNED_DATA) is not None
        assert started_from(run) == "models:/m/1"
    assert capsys.readouterr().out.count("training continues from models:/m/1\n") == 1


def test_without_a_champion_training_starts_fresh_and_stays_so(
    client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    with tracked_run(TUNED, "a run", "cpu", "flow", "lease") as run:
        assert find_start(run, TUNED, TUNED_DATA) is None
        assert "training starts fresh: 'm' has no champion\n" in capsys.readouterr().out
        add(of=logged(config=TUNED))
        assert find_start(run, TUNED, TUNED_DATA) is None
        assert started_from(run) == "fresh"


def test_of_a_champion_that_does_not_fit_the_reason_is_said(
    client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    add(of=logged(config=TUNED))
    other = validated(TUNED_RAW | {"model": {"kind": "mlp"}}, "c.yaml")
    with tracked_run(other, "a run", "cpu", "flow", "lease") as run:
        assert find_start(run, other, TUNED_DATA) is None
    reason = "models:/m/1 does not fit, since its model.kind is linear, and that of this run mlp"
    assert f"training starts fresh: {reason}\n" in capsys.readouterr().out


def test_of_a_champion_whose_run_was_deleted_for_good_no_other_reason_is_said(
    client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    uri, run_id = logged(config=TUNED)
    add(of=(uri, run_id))
    MlflowClient()._tracking_client.store._hard_delete_run(run_id)  # as mlflow gc does
    with tracked_run(TUNED, "a run", "cpu", "flow", "lease") as run:
        assert find_start(run, TUNED, TUNED_DATA) is None
    reason = "models:/m/1 does not fit, since its run was deleted, and with it how it was trained"
    assert f"training starts fresh: {reason}\n" in capsys.readouterr().out
