"""Training on the R factor is the loop on the rows, epoch by epoch."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from plumbline.config.loading import load_config
from plumbline.config.schema import Split, Training
from plumbline.data.encoding import Encoding
from plumbline.data.sources import Synthetic
from plumbline.errors import InputError, TrainingDivergedError
from plumbline.linear.factor import merge
from plumbline.linear.least_squares import least_squares
from plumbline.training.loop import train_linear
from plumbline.training.model import initial_model, parameters
from plumbline.training.objectives import FactorObjective
from plumbline.training.plan import Plan, make_plan
from plumbline.training.prediction import predict
from plumbline.training.trained import Status, Trained
from tests.plumbline.tools import DTYPES, ROOT, compressed, plain_loop, random_rows

OPTIMIZERS = {
    "sgd": {"learning_rate": 0.05},
    "momentum": {"learning_rate": 0.02, "momentum": 0.9},
    "weight decay": {"learning_rate": 0.05, "weight_decay": 0.3},
    "both": {"learning_rate": 0.02, "momentum": 0.5, "weight_decay": 0.1},
    "adam": {"learning_rate": 0.05, "optimizer": "adam"},
    "adam, weight decay": {"learning_rate": 0.05, "optimizer": "adam", "weight_decay": 0.1},
    "adamw": {"learning_rate": 0.05, "optimizer": "adamw", "weight_decay": 0.1},
    "rmsprop": {"learning_rate": 0.01, "optimizer": "rmsprop", "momentum": 0.5},
}
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_bias = pytest.mark.parametrize("bias", [True, False])
each_scaling = pytest.mark.parametrize("standardize", [True, False])


def trained_on(rows: torch.Tensor, training: Training) -> Trained:
    plan = make_plan(compressed(rows), training)
    return train_linear(plan, training, "cpu", lambda epoch, loss: None)


def assert_agree(found: list[float], expected: list[float]) -> None:
    """The tolerance of the design: 1e-4 relative or 1e-9 absolute, at every epoch."""
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-9)


@each_dtype
@each_bias
@each_scaling
@pytest.mark.parametrize("keys", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_every_epochs_loss_is_that_of_the_loop_on_the_rows(keys, standardize, bias, dtype):
    rows = random_rows(50, 3, far=0.5)
    training = Training(epochs=150, dtype=dtype, bias=bias, standardize=standardize, **keys)
    assert_agree(trained_on(rows, training).losses, plain_loop(rows, training))


@each_dtype
@each_bias
def test_the_gradient_on_the_factor_is_autograds_to_the_last_bit(bias, dtype):
    training = Training(dtype=dtype, bias=bias)
    plan = make_plan(compressed(random_rows(50, 3, far=0.5)), training)
    model = initial_model(3, training, "cpu")
    objective = FactorObjective.of(plan.problem, dtype, "cpu")
    (batch,) = objective.batches(model, 1)
    (factor,) = batch.blocks
    given = objective.loss(model, factor, batch.size)
    given.backward()
    found = [given.detach(), *(p.grad for p in model.parameters())]
    model.zero_grad()
    scale = plan.problem.rows**-0.5
    matrix, target = (plan.problem.matrix * scale, plan.problem.target * scale)
    matrix, target = matrix.to(model.weight), target.to(model.weight)
    residual = torch.addmv(target, matrix, parameters(model), beta=-1)
    loss = residual @ residual
    loss.backward()
    expected = [loss, *(p.grad for p in model.parameters())]
    assert batch.share == 1.0
    assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))


@each_dtype
@pytest.mark.parametrize("n", [1, 2, 4])
def test_fewer_rows_than_columns_train_as_the_rows_do(n, dtype):
    rows = random_rows(n, 5)
    # A perfect fit leaves float32 nothing but rounding in the end: stop before.
    epochs = 60 if dtype == "float32" else 200
    training = Training(epochs=epochs, dtype=dtype, learning_rate=0.02)
    assert_agree(trained_on(rows, training).losses, plain_loop(rows, training))


@each_dtype
@pytest.mark.parametrize("kind", ["constant", "collinear"])
def test_degenerate_columns_train_as_the_rows_do(kind, dtype):
    rows = random_rows(40, 3)
    rows[:, 1] = 2.0 if kind == "constant" else -rows[:, 0]
    training = Training(epochs=200, dtype=dtype, learning_rate=0.05)
    assert_agree(trained_on(rows, training).losses, plain_loop(rows, training))


TUTORIAL = load_config(ROOT / "configs" / "tutorial.yaml")


def tutorial() -> Trained:
    block = next(Synthetic(TUTORIAL.data).blocks("synthetic"))
    return trained_on(block.rows[1:].mT.clone(), TUTORIAL.training)


def test_the_tutorials_losses_are_the_scripts_at_every_epoch():
    x = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    y = 2 * x
    torch.manual_seed(42)
    model, losses = nn.Linear(1, 1), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(1000):
        loss = nn.MSELoss()(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    found = tutorial()
    assert_agree(found.losses, losses)
    assert found.module.intercept + 5 * float(found.module.weights) == pytest.approx(
        model(torch.tensor([[5.0]])).item(), rel=1e-5
    )


def test_the_tutorial_prints_the_figures_people_know():
    found = tutorial()
    assert f"{found.losses[99]:.4f}" == "0.1158"
    assert f"{found.losses[999]:.4f}" == "0.0005"
    predicted = predict(found, Encoding(("x",), {}), TUTORIAL.prediction.inputs)
    assert [(p.label, f"{p.value:.4f}") for p in predicted] == [("5.0", "9.9608")]


@each_dtype
@each_bias
@each_scaling
def test_enough_epochs_reach_the_exact_optimum_in_raw_units(standardize, bias, dtype):
    rows = random_rows(60, 2, far=1.0)
    keys = {"standardize": standardize, "bias": bias, "dtype": dtype}
    found = trained_on(rows, Training(learning_rate="auto", epochs=3000, **keys))
    best = least_squares(compressed(rows).train, bias)
    rel = 1e-4 if dtype == "float32" else 1e-9
    assert found.module.weights.tolist() == pytest.approx(best.weights.tolist(), rel=rel)
    assert found.module.intercept == pytest.approx(best.intercept, rel=rel)


@each_dtype
def test_lbfgs_reaches_the_optimum_in_a_few_epochs(dtype):
    rows = random_rows(60, 3)
    found = trained_on(rows, Training(optimizer="lbfgs", learning_rate=1.0, epochs=10, dtype=dtype))
    best = least_squares(compressed(rows).train)
    assert found.losses[-1] == pytest.approx(best.mse, rel=1e-5)


@pytest.mark.parametrize(
    "name", ["adagrad", "adadelta", "adamax", "nadam", "radam", "adamw", "rmsprop"]
)
def test_every_optimizer_lowers_the_loss_and_takes_weight_decay(name):
    training = Training(optimizer=name, epochs=50, learning_rate=0.01, weight_decay=0.01)
    losses = trained_on(random_rows(30, 2), training).losses
    assert losses[-1] < losses[0]


def test_standardised_weight_decay_leaves_the_bias_at_the_mean():
    rows = random_rows(60, 2, far=3.0)
    keys = {"standardize": True, "weight_decay": 50.0, "learning_rate": 0.03}
    found = trained_on(rows, Training(epochs=600, **keys))
    # With weights held near 0 by the decay, the bias is free to reach the mean of y.
    at_mean = found.module.intercept + float(rows[:, :-1].mean(dim=0) @ found.module.weights)
    assert at_mean == pytest.approx(float(rows[:, -1].mean()), rel=1e-9)
    assert float(found.module.weights.abs().max()) < 0.1


@each_dtype
@each_bias
@each_scaling
def test_the_closed_form_is_the_optimum_in_one_epoch_whatever_else_is_set(standardize, bias, dtype):
    rows = random_rows(40, 3, far=2.0)
    keys = {"learning_rate": 1e9, "momentum": 0.9, "epochs": 7, "tolerance": 1e-3}
    training = Training(optimizer="exact", dtype=dtype, bias=bias, standardize=standardize, **keys)
    told: list[tuple[int, float]] = []
    plan = make_plan(compressed(rows), training)
    found = train_linear(plan, training, "cpu", lambda epoch, loss: told.append((epoch, loss)))
    x = torch.cat([torch.ones(40, 1).double() if bias else rows[:, :0], rows[:, :-1]], dim=1)
    best = torch.linalg.lstsq(x, rows[:, -1:]).solution[:, 0]
    loss = float((x @ best - rows[:, -1]).square().mean())
    assert told == [(1, found.losses[0])]
    assert found.losses == pytest.approx([loss], rel=1e-12)
    theirs = best if bias else torch.cat([torch.zeros(1).double(), best])
    ours = torch.tensor(
        [found.module.intercept, *found.module.weights.tolist()], dtype=torch.float64
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    assert training.ignored == ["learning_rate", "momentum", "epochs", "tolerance"]


def test_the_closed_form_takes_weights_of_rows():
    """Older rows at a quarter, as data.window.half_life has them."""
    rows = random_rows(60, 3)
    old, new = compressed(rows[:30]), compressed(rows[30:])
    data = replace(new, factors={"train": merge([old.train.weighted(0.25), new.train])})
    training = Training(optimizer="exact")
    found = train_linear(make_plan(data, training), training, "cpu", lambda epoch, loss: None)
    root = torch.cat([torch.full((30, 1), 0.5), torch.ones(30, 1)]).double()
    x = torch.cat([torch.ones(60, 1).double(), rows[:, :-1]], dim=1)
    best = torch.linalg.lstsq(root * x, root * rows[:, -1:]).solution[:, 0]
    torch.testing.assert_close(found.module.weights, best[1:], rtol=1e-10, atol=1e-10)
    assert found.module.intercept == pytest.approx(float(best[0]), rel=1e-10)


def test_the_closed_form_takes_columns_that_others_determine():
    rows = random_rows(60, 3)
    rows[:, 2] = 2 * rows[:, 0] - rows[:, 1] + 1
    training = Training(optimizer="exact")
    found, less = trained_on(rows, training), trained_on(rows[:, [0, 1, 3]], training)
    assert found.losses == pytest.approx(less.losses, rel=1e-10)
    assert found.module.weights.abs().max() < 10


def test_epochs_are_told_in_order_with_the_loss_before_the_step():
    told: list[tuple[int, float]] = []
    rows, training = random_rows(20, 1), Training(epochs=5)
    plan = make_plan(compressed(rows), training)
    trained = train_linear(plan, training, "cpu", lambda epoch, loss: told.append((epoch, loss)))
    assert [epoch for epoch, _ in told] == [1, 2, 3, 4, 5]
    assert [loss for _, loss in told] == trained.losses
    first = plain_loop(rows, Training(epochs=1))[0]
    assert told[0][1] == pytest.approx(first, rel=1e-12)


def test_training_stops_at_the_first_epoch_within_the_tolerance():
    training = Training(learning_rate=0.1, epochs=5000, tolerance=1e-8)
    found = trained_on(random_rows(40, 2), training)
    shorter = Training(learning_rate=0.1, epochs=len(found.losses) - 1, tolerance=1e-8)
    assert found.status is Status.STOPPED
    assert found.message == "within 1e-08 of the exact optimum"
    assert trained_on(random_rows(40, 2), shorter).status is Status.COMPLETED


@each_dtype
@pytest.mark.parametrize("standardize", [False, True])
def test_a_loss_that_is_no_number_any_more_stops_training_and_says_where(dtype, standardize):
    training = Training(epochs=5000, dtype=dtype, standardize=standardize)
    plan = make_plan(compressed(random_rows(20, 2)), training)
    told: list[int] = []
    hasty = Plan(**{**vars(plan), "rate": 100.0})
    with pytest.raises(TrainingDivergedError) as caught:
        train_linear(hasty, training, "cpu", lambda epoch, loss: told.append(epoch))
    assert f"at epoch {len(told) + 1}." in str(caught.value)
    assert f"{plan.largest_stable_rate:.6g}" in str(caught.value)
    assert ("set training.standardize: true" in str(caught.value)) != standardize


def test_a_rate_that_must_diverge_is_refused_before_training():
    with pytest.raises(InputError, match="learning_rate"):
        make_plan(compressed(random_rows(20, 2)), Training(learning_rate=100.0))


def test_the_folds_of_cross_validation_leave_training_as_it_was():
    rows, training = random_rows(60, 2), Training(epochs=50)
    plan = make_plan(compressed(rows, Split(folds=4)), training)
    found = train_linear(plan, training, "cpu", lambda epoch, loss: None)
    assert found.losses == pytest.approx(trained_on(rows, training).losses, rel=1e-10)


@each_dtype
@each_bias
def test_the_saved_model_takes_raw_units(dtype, bias):
    training = Training(dtype=dtype, bias=bias, standardize=True)
    rows = random_rows(30, 2, far=5.0)
    found = trained_on(rows, training)
    x = rows[:, :-1].to(getattr(torch, dtype))
    predicted = found.module.layer(training)(x)[:, 0].double()
    expected = found.module.intercept + rows[:, :-1] @ found.module.weights
    assert torch.allclose(predicted, expected, rtol=1e-5 if dtype == "float32" else 1e-12)
