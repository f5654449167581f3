"""Unusual data is said; a model is called far from its optimum if it materially is, and what is
advised then helps."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

import plumbline
from plumbline.config.loading import validated
from plumbline.config.schema import Training
from plumbline.linear.least_squares import excess, least_squares
from plumbline.training.advice import data_notes, is_far, largest_gap, leaks, what_helps
from plumbline.training.loop import train_linear
from plumbline.training.plan import Plan, make_plan
from plumbline.training.trained import Status, Trained
from tests.plumbline.tools import DTYPES, compressed, random_rows, write

X = random_rows(60, 4, seed=1)
# Columns of very different spread that depend on each other: slow without momentum.
SLOW = torch.cat([X[:, :3] @ torch.tensor([[1, 0.9, 0], [0, 0.4, 5], [0, 0, 1.0]]).double(),
                  X[:, 3:4], 100 * X[:, 4:]], dim=1)  # fmt: skip


def trained_with(training: Training, rows: torch.Tensor = SLOW) -> tuple[Trained, float]:
    """A model and its optimality gap."""
    data = compressed(rows)
    model = train_linear(make_plan(data, training), training, "cpu", lambda epoch, loss: None)
    gap = excess(data.train, model.module.intercept, model.module.weights, model.exact.optimum)
    return model, gap


def advised(training: Training) -> list[Training]:
    """The remedies of the line, each with the epochs that it says."""
    model, gap = trained_with(training)
    assert is_far(model, training, gap)
    ways = what_helps(model, training, gap).partition("What helps: ")[2].split("; or ")
    found = []
    for way in ways:
        keys = dict(re.findall(r"training\.(\w+)=([^\s,]+)", way))
        if takes := re.search(r"takes ([\d,]+) epochs", way):
            keys["epochs"] = takes[1].replace(",", "")
        keys = {key: yaml.safe_load(value) for key, value in keys.items()}
        found.append(Training.model_validate({**training.model_dump(), **keys}))
    return found


@pytest.mark.parametrize("share", ["test", "validation"])
def test_a_share_that_no_row_was_drawn_for_is_said(share: str):
    data = {"kind": "synthetic", "x": [1, 2, 3, 4], "weights": [2.0]}
    for fraction, said in ((0.001, True), (0.5, False), (0.0, False)):
        raw = {"experiment": "e", "data": {**data, f"{share}_fraction": fraction}}
        config = validated(raw, "c.yaml")
        notes = [*data_notes(plumbline.train(config).data, config)]
        assert any(f"no row is held out by data.{share}_fraction" in note for note in notes) == said


def test_a_cut_after_all_rows_is_said(tmp_path: Path):
    days = [f"2024-01-{day:02}" for day in range(1, 21)]
    path = write(tmp_path / "a.csv", {"day": days, "x": list(range(20)), "y": list(range(20))})
    split = {"by": "time", "column": "day", "cut": "2030-01-01"}
    data = {"kind": "table", "path": str(path), "target": "y", "split": split}
    config = validated({"experiment": "e", "data": data}, "c.yaml")
    assert "all are before data.split.cut" in next(data_notes(plumbline.train(config).data, config))


@pytest.mark.parametrize("rate", [0.2, "auto"])
@pytest.mark.parametrize("momentum", [0.0, 0.3])
@pytest.mark.parametrize("bias", [True, False])
def test_every_remedy_is_enough_and_one_epoch_less_is_not(rate, momentum, bias):
    given = Training(learning_rate=rate, momentum=momentum, epochs=10, standardize=True, bias=bias)
    exact, other, longer = advised(given)
    assert (exact.optimizer, other.learning_rate, longer.learning_rate) == ("exact", "auto", rate)
    assert momentum < other.momentum < 1
    assert other.epochs < longer.epochs
    for remedy in (exact, other, longer):
        model, gap = trained_with(remedy)
        assert not is_far(model, remedy, gap)
    for remedy in (other, longer):
        less = remedy.model_copy(update={"epochs": remedy.epochs - 1})
        model, gap = trained_with(less)
        assert is_far(model, less, gap)


def test_another_optimizer_is_sent_to_what_is_known_of_sgd():
    given = Training(optimizer="adam", epochs=10, standardize=True)
    exact, other = advised(given)
    assert exact.optimizer == "exact"
    assert (other.optimizer, other.learning_rate) == ("sgd", "auto")
    model, gap = trained_with(other)
    assert not is_far(model, other, gap)


def test_columns_that_are_almost_one_are_not_sent_to_momentum():
    rows = torch.cat([X[:, :1], X[:, :1] + 1e-5 * X[:, 1:2], X[:, 4:] + 9e3 * X[:, 1:2]], dim=1)
    training = Training(epochs=5, standardize=True, learning_rate="auto")
    model, gap = trained_with(training, rows)
    line = what_helps(model, training, gap)
    assert "optimizer=exact; or training.epochs=" in line
    assert "momentum" not in line


def test_the_limit_is_two_per_cent_of_the_optimums_error():
    plan: Plan = make_plan(compressed(SLOW), Training())
    assert largest_gap(plan) == pytest.approx(0.02 * plan.optimum.mse, rel=1e-12)


@pytest.mark.parametrize("bias", [True, False])
def test_where_the_features_determine_the_target_it_is_a_share_of_the_variance(bias):
    rows = torch.tensor([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0], [4.0, 8.0]]).double()
    total = rows[:, 1].var(correction=0) if bias else rows[:, 1].square().mean()
    plan = make_plan(compressed(rows), Training(bias=bias))
    assert largest_gap(plan) == pytest.approx(1e-3 * float(total), rel=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_converged_model_is_not_far(dtype):
    training = Training(learning_rate="auto", dtype=dtype, epochs=3000, standardize=True)
    model, gap = trained_with(training)
    assert not is_far(model, training, gap)


@pytest.mark.parametrize(
    "keys", [{"weight_decay": 5.0}, {"tolerance": 1e9}, {"loss": "huber"}, {"batch_size": 8}]
)
def test_it_is_not_said_of_training_that_does_not_aim_at_the_optimum_or_did_all_it_should(keys):
    model, gap = trained_with(Training(epochs=2))
    ended = Status.STOPPED if "tolerance" in keys else Status.COMPLETED
    model = replace(model, status=ended)
    assert not is_far(model, Training(epochs=2, **keys), gap)
    assert is_far(replace(model, status=Status.COMPLETED), Training(epochs=2), gap)


def test_a_target_of_zeros_has_no_scale_to_be_far_on():
    rows = torch.cat([X[:, :2], torch.zeros(60, 1).double()], dim=1)
    model, gap = trained_with(Training(epochs=1), rows)
    assert not is_far(model, Training(epochs=1), gap)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
@pytest.mark.parametrize("target", ["number", "class"])
def test_unusual_columns_are_said_of_every_kind(tmp_path: Path, kind: str, target: str) -> None:
    """x tells all of y, twice is 2·x; a net does not mind that, so it is not said."""
    x = [float(i % 2) for i in range(60)]
    rows = {"x": x, "twice": [2 * each for each in x], "z": [i * 7 % 13 for i in range(60)]}
    rows |= {"one": ["only"] * 60, "k": [3] * 60, "y": [{0: "no", 1: "yes"}[each] for each in x]}
    rows |= {"y": x} if target == "number" else {}
    data = {"kind": "table", "path": str(write(tmp_path / "a.csv", rows)), "target": "y"}
    data |= {"categorical": ["one"], "target_type": target}
    model = {"kind": kind, **({"hidden": [4]} if kind == "mlp" else {})}
    training = {"epochs": 1} if kind == "mlp" else {}
    raw = {"experiment": "t", "data": data, "model": model, "training": training}
    found = plumbline.train(validated(raw, "t.yaml"))
    what = "class 'yes' of the target" if target == "class" else "the target"
    assert [*data_notes(found.data, found.config)] == [
        "columns that tell nothing, being constant in the training rows: k (3), one (only)",
        f"{what} is determined exactly (R² = 1 to 12 digits) by x: a leak? data.exclude leaves "
        "columns out",
        *(["left out of the exact fit: twice = 2·x"] if kind == "linear" else []),
    ]


def test_levels_without_a_row_share_a_line_and_a_leak_is_named_by_its_column(
    tmp_path: Path,
) -> None:
    rows = {"g": [*"abc"] * 20, "x": [i * 7 % 13 for i in range(60)], "y": [1.5, 5.0, 2.0] * 20}
    data = {"kind": "table", "path": str(write(tmp_path / "a.csv", rows)), "target": "y"}
    data |= {"categorical": {"g": [*"abcde"]}}
    model = plumbline.train(validated({"experiment": "e", "data": data}, "c.yaml"))
    assert [*data_notes(model.data, model.config)] == [
        "columns that tell nothing, being constant in the training rows: g=d (0), g=e (0)",
        "the target is determined exactly (R² = 1 to 12 digits) by g: a leak? data.exclude leaves "
        "columns out",
    ]


def test_levels_that_differ_in_spelling_alone_are_named(tmp_path: Path) -> None:
    """pandas writes codes as 2.0 in a file that lacks a value."""
    write(tmp_path / "a.csv", {"g": ["1", "2", "v2"], "y": [1.0, 2.0, 4.0]})
    write(tmp_path / "b.csv", {"g": ["1.0", "3.0", "v2.0"], "y": [1.0, 5.0, 2.0]})
    data = {"kind": "table", "path": str(tmp_path), "target": "y", "categorical": ["g"]}
    model = plumbline.train(validated({"experiment": "e", "data": data}, "c.yaml"))
    (found,) = (each for each in data_notes(model.data, model.config) if "spelt" in each)
    assert found == "levels of 'g' that may be one, spelt differently: 1, 1.0"


@pytest.mark.parametrize("penalty", [None, {"kind": "lasso", "strength": 0.1}])
def test_features_beyond_the_rows_are_one_note_that_names_a_penalty_if_there_is_none(
    tmp_path: Path, penalty: dict | None
) -> None:
    rows = random_rows(150, 200)
    columns = {f"x{i}": rows[:, i].tolist() for i in range(200)} | {"y": rows[:, -1].tolist()}
    data = {"kind": "table", "path": str(write(tmp_path / "a.csv", columns)), "target": "y"}
    training = {"optimizer": "exact", "penalty": penalty}
    model = plumbline.train(validated({"experiment": "e", "data": data, "training": training}, "c"))
    ridge = "" if penalty else "; training.penalty.kind: ridge uses them all"
    assert [*data_notes(model.data, model.config)] == [
        "150 training rows for 200 features: many models fit them alike",
        "51 features, from x149 on, are left out of the exact fit: those before them fit every row"
        + ridge,
    ]


def leaking(rows: torch.Tensor) -> tuple[str, ...]:
    factor = compressed(rows).train
    return leaks(factor, least_squares(factor))


@pytest.mark.parametrize("far", [0.0, 1e6])
def test_a_feature_that_alone_determines_the_target_is_leaking(far: float) -> None:
    rows = random_rows(500, 4, far=far)
    rows[:, -1] = 3 * rows[:, 2] - 7
    assert leaking(rows) == ("x2",)


def test_features_that_determine_it_together_are_leaking() -> None:
    rows = random_rows(500, 5)
    rows[:, -1] = rows[:, 1] + rows[:, 3]
    assert leaking(rows) == ("x1", "x3")


def test_a_close_fit_is_no_leak() -> None:
    rows = random_rows(500, 4)
    rows[:, -1] = rows[:, 2] + 1e-5 * rows[:, -1]
    assert leaking(rows) == ()


def test_too_few_rows_a_constant_target_and_a_constant_feature_are_no_leak() -> None:
    assert leaking(random_rows(4, 5)) == ()
    rows = random_rows(50, 3)
    rows[:, 1] = 2.0
    assert leaking(rows) == ()
    rows[:, -1] = 5.0
    assert leaking(rows) == ()
