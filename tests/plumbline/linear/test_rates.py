"""Learning rates: the limits hold, the best is the best, and the promised epochs are needed."""

import pytest
import torch

from plumbline.config.schema import Training
from plumbline.errors import InputError, TrainingDivergedError
from plumbline.linear.problem import (
    Problem,
    Standardizer,
    best_momentum,
    best_rate,
    choose_rate,
    epochs_to,
    largest_stable_rate,
)
from plumbline.training.loop import train_linear
from plumbline.training.plan import Plan, make_plan
from plumbline.training.trained import Status
from tests.plumbline.tools import compressed, random_rows

ROWS = random_rows(60, 2, far=0.5)
DATA = compressed(ROWS)
each_momentum = pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])


def curvature(decay: float = 0.0) -> torch.Tensor:
    factor = DATA.train
    return Problem.of(factor, Standardizer.of(factor, True, False), True).curvature(3, decay)


def settings(rate: float | str, momentum: float, epochs: int, **others: object) -> Training:
    return Training(learning_rate=rate, momentum=momentum, epochs=epochs, **others)


def losses_at(rate: float, momentum: float, decay: float, epochs: int = 400) -> list[float]:
    """The losses at a rate, past the check that refuses one that is too large."""
    calm = settings(1e-3, momentum, epochs, weight_decay=decay)
    plan = make_plan(DATA, calm)
    told: list[float] = []
    hasty = Plan(**{**vars(plan), "rate": rate})
    try:
        train_linear(hasty, calm, "cpu", lambda epoch, loss: told.append(loss))
    except TrainingDivergedError:
        told.append(float("inf"))
    return told


@each_momentum
@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_just_below_the_largest_stable_rate_the_loss_stays_bounded(momentum, decay):
    limit = largest_stable_rate(curvature(decay), momentum)
    losses = losses_at(0.995 * limit, momentum, decay)
    assert losses[-1] < losses[0]
    assert losses[-1] <= max(losses[-100:-50])


@each_momentum
@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_just_above_the_largest_stable_rate_the_loss_grows_without_end(momentum, decay):
    limit = largest_stable_rate(curvature(decay), momentum)
    losses = losses_at(1.02 * limit, momentum, decay, epochs=1500)
    assert losses[-1] > 1e3 * losses[0]


@each_momentum
def test_a_rate_that_must_diverge_is_refused_with_the_limit_and_the_best(momentum):
    limit = largest_stable_rate(curvature(), momentum)
    with pytest.raises(InputError) as caught:
        choose_rate(settings(1.001 * limit, momentum, 10), curvature())
    message = str(caught.value)
    assert message.startswith("training.learning_rate must be at most")
    assert f"{limit:.6g}" in message
    assert f"{best_rate(curvature(), momentum):.6g}" in message


@each_momentum
def test_a_rate_below_the_limit_is_taken_as_it_stands(momentum):
    rate = 0.999 * largest_stable_rate(curvature(), momentum)
    assert choose_rate(settings(rate, momentum, 10), curvature()) == rate


@pytest.mark.parametrize("others", [{"optimizer": "adam"}, {"loss": "l1"}, {"batch_size": 8}])
def test_no_limit_is_claimed_where_none_is_known(others):
    plan = make_plan(DATA, settings(50.0, 0.0, 10, **others))
    assert (plan.rate, plan.largest_stable_rate) == (50.0, None)


def test_the_tutorials_limit_is_the_one_worked_out_by_hand():
    # x = 1, 2, 3, 4: the Hessian is [[2, 5], [5, 15]], its largest eigenvalue (17 + √269) / 2.
    x = torch.tensor([[1.0], [2.0], [3.0], [4.0]], dtype=torch.float64)
    plan = make_plan(compressed(torch.cat([x, 2 * x], dim=1)), Training())
    assert plan.largest_stable_rate == pytest.approx(4 / (17 + 269**0.5), rel=1e-12)


def spectral_radius(rate: float, momentum: float) -> float:
    """The slowest factor a step over all eigenvectors, from the companion matrices' roots."""
    radii = []
    for c in curvature().tolist():
        step = torch.tensor([[1 + momentum - rate * c, -momentum], [1.0, 0.0]])
        radii.append(float(torch.linalg.eigvals(step.double()).abs().max()))
    return max(radii)


@each_momentum
def test_no_other_rate_shrinks_the_error_faster_than_the_best_one(momentum):
    best = spectral_radius(best_rate(curvature(), momentum), momentum)
    limit = largest_stable_rate(curvature(), momentum)
    others = [spectral_radius(float(r), momentum) for r in torch.linspace(0.001, 1, 400) * limit]
    assert best <= min(others) + 1e-6
    assert best < 1


def test_no_other_momentum_shrinks_the_error_faster_than_the_best_one():
    best = best_momentum(curvature())
    found = spectral_radius(best_rate(curvature(), best), best)
    others = [float(m) for m in torch.linspace(0, 0.999, 400)]
    least = min(spectral_radius(best_rate(curvature(), m), m) for m in others)
    assert found <= least + 0.01  # the best is rounded to two digits


@pytest.mark.parametrize(("k", "momentum"), [(1, 0.0), (9, 0.25), (1e6, 0.9961), (1e10, 0.999961)])
def test_the_best_momentum_follows_from_the_condition_number(k, momentum):
    spectrum = torch.tensor([0.0, 2.0, 2.0 * k], dtype=torch.float64)
    assert best_momentum(spectrum) == momentum


def test_directions_without_curvature_do_not_slow_the_best_rate():
    flat = torch.tensor([0.0, 0.0, 1.0, 3.0], dtype=torch.float64)
    assert best_rate(flat, 0.0) == pytest.approx(2 / (1 + 3))


def test_a_flat_loss_takes_any_rate():
    flat = torch.zeros(2, dtype=torch.float64)
    assert largest_stable_rate(flat, 0.0) == float("inf")
    assert 0 < best_rate(flat, 0.9) < float("inf")
    assert best_momentum(flat) == 0.0


@each_momentum
@pytest.mark.parametrize("rate", ["auto", 0.02])
@pytest.mark.parametrize("tolerance", [1e-2, 1e-9])
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_the_promised_epochs_are_the_ones_needed(momentum, rate, tolerance, standardize, bias):
    training = settings(
        rate, momentum, 5000, tolerance=tolerance, standardize=standardize, bias=bias
    )
    plan = make_plan(DATA, training)
    trained = train_linear(plan, training, "cpu", lambda epoch, loss: None)
    assert trained.status is Status.STOPPED
    assert plan.epochs_expected == len(trained.losses)


def promised(start: torch.Tensor, rate: float, tolerance: float, momentum: float) -> int | None:
    problem = make_plan(DATA, Training()).problem
    best = torch.linalg.lstsq(problem.matrix, problem.target[:, None]).solution[:, 0]
    return epochs_to(problem, best + start, best, rate, momentum, tolerance)


def test_no_epochs_are_promised_to_one_who_is_there():
    assert promised(torch.zeros(3).double(), 0.01, 1e-9, 0.0) == 0


@each_momentum
def test_a_rate_above_the_limit_never_reaches_the_tolerance(momentum):
    rate = 1.5 * largest_stable_rate(curvature(), momentum)
    assert promised(torch.ones(3).double(), rate, 1e-6, momentum) is None


def test_a_rate_too_small_for_a_lifetime_promises_nothing():
    assert promised(torch.ones(3).double(), 1e-16, 1e-6, 0.0) is None
