"""The training loop, what it is given, and the closed form beside it."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor, nn, optim

from plumbline.config.schema import Training
from plumbline.errors import TrainingDivergedError
from plumbline.linear.least_squares import LeastSquares, least_squares
from plumbline.linear.problem import Problem, Units
from plumbline.linear.rates import choose_rate, epochs_to, stable_limit
from plumbline.linear.summary import Summary
from plumbline.training.model import initial_model, make_optimizer

# One step's work: its share of the epoch's rows, and a closure as torch.optim's step takes one: it
# computes the loss on them, puts its gradients on the model in place of the last, returns the loss.
Batch = tuple[float, Callable[[], Tensor]]
OnEpoch = Callable[[int, float], None]


@dataclass(frozen=True)
class Plan:
    """What is known before the first epoch.

    Attributes:
        problem: what full-batch squared-error training minimises, in training units.
        units: from training units to raw ones.
        optimum: the exact least-squares fit.
        rate: the learning rate that will be used.
        stable_rate: the largest stable one, where it is known.
        epochs_expected: epochs to the tolerance, where both are known.
    """

    problem: Problem
    units: Units
    optimum: LeastSquares
    rate: float
    stable_rate: float | None
    epochs_expected: int | None

    @property
    def optimum_in_units(self) -> Tensor:
        """The optimum as `parameters` gives a model's, in training units: (p,)."""
        best = self.units.trained(self.optimum.intercept, self.optimum.weights)
        return best if self.problem.bias else best[1:]


@dataclass(frozen=True)
class Trained:
    """A trained model in raw units: y = intercept + x · weights.

    Attributes:
        names: the features, d.
        intercept: in units of y; 0 where the model has none.
        weights: (d,) float64.
        losses: the loss before each epoch's step.
        reached: whether it stopped because the tolerance was reached.
        plan: what was known before.
    """

    names: tuple[str, ...]
    intercept: float
    weights: Tensor
    losses: list[float]
    reached: bool
    plan: Plan


def make_plan(data: Summary, training: Training) -> Plan:
    """Look before leaping: the optimum, the stable rates and the epochs they promise.

    Raises:
        InputError: the learning rate must diverge on this data.
    """
    factor = data.train
    units = Units.of(factor, training.bias, training.standardize)
    problem = Problem.of(factor, units, training.bias)
    optimum = _optimum(data, training.bias)
    curvature = problem.curvature(optimum.rank, training.weight_decay)
    rate = choose_rate(training, curvature)
    plan = Plan(problem, units, optimum, rate, stable_limit(training, curvature), None)
    if not training.tolerance:
        return plan
    return replace(plan, epochs_expected=epochs_needed(plan, training, training.tolerance))


@lru_cache(2)
def _optimum(data: Summary, bias: bool) -> LeastSquares:
    """The exact fit, once for all trials on the same rows."""
    return least_squares(data.train, bias)


def epochs_needed(plan: Plan, training: Training, tolerance: float) -> int | None:
    """Epochs until the loss is within a tolerance of the optimum, where `epochs_to` knows."""
    if training.optimizer != "sgd" or not training.compressible:
        return None
    start = parameters(initial_model(len(plan.optimum.names), training, "cpu")).detach().double()
    best = plan.optimum_in_units
    return epochs_to(plan.problem, start, best, plan.rate, training.momentum, tolerance)


def train(
    plan: Plan,
    training: Training,
    device: str,
    on_epoch: OnEpoch,
    batches: Callable[[nn.Linear, int], Iterable[Batch]] | None = None,
) -> Trained:
    """Train nn.Linear with torch.optim, or take the closed form.

    Args:
        plan: from make_plan.
        training: the configuration's section.
        device: a device of this machine.
        on_epoch: told (epoch from 1, the loss before its step) after every step; by the closed
            form, one epoch with the optimum's.
        batches: (model, epoch) to the steps of an epoch; default: one on the R factor.

    Raises:
        TrainingDivergedError: the loss became infinite or NaN.
    """
    if training.optimizer == "exact":
        return closed_form(plan, on_epoch)
    model = initial_model(len(plan.optimum.names), training, device)
    optimizer = make_optimizer(model, training, plan.rate)
    batches = batches or on_factor(plan.problem, model)
    losses: list[float] = []

    def told(epoch: int, loss: float) -> None:
        if not math.isfinite(loss):
            raise diverged(epoch, loss, plan)
        losses.append(loss)
        on_epoch(epoch, loss)

    reached = loop(model, optimizer, batches, training.epochs, told, _near_optimum(plan, training))
    bias = model.bias if model.bias is not None else torch.zeros(1)
    intercept, weights = plan.units.raw(bias, model.weight)
    if not (math.isfinite(intercept) and weights.isfinite().all()):
        raise diverged(len(losses), math.inf, plan)
    return Trained(plan.optimum.names, intercept, weights, losses, reached, plan)


def closed_form(plan: Plan, on_epoch: OnEpoch) -> Trained:
    """The least-squares optimum, in raw units and float64, as what one epoch trained."""
    best = plan.optimum
    on_epoch(1, best.mse)
    return Trained(best.names, best.intercept, best.weights, [best.mse], False, plan)


def loop(
    model: nn.Linear,
    optimizer: optim.Optimizer,
    batches: Callable[[nn.Linear, int], Iterable[Batch]],
    epochs: int,
    on_epoch: OnEpoch,
    enough: Callable[[nn.Linear], bool],
) -> bool:
    """The loop: for every epoch, for every batch, the loss and its gradients, and a step.

    Returns:
        Whether it stopped because `enough` said so.
    """
    for epoch in range(1, epochs + 1):
        loss = 0.0
        for share, backward in batches(model, epoch):
            loss += share * optimizer.step(backward).item()
        on_epoch(epoch, loss)
        if enough(model):
            return True
    return False


def parameters(model: nn.Linear) -> Tensor:
    """Bias (where there is one) and weights as one vector: (p,)."""
    weight = model.weight[0]
    return weight if model.bias is None else torch.cat([model.bias, weight])


def on_factor(problem: Problem, model: nn.Linear) -> Callable[[nn.Linear, int], Iterable[Batch]]:
    """One step an epoch on R: its loss is the mean squared error over all the rows.

    A sum over R's few rows divided by n, not their mean: R is divided by √n once. And the bias
    multiplies R's own first column, not ones. The gradient is 2 Mᵀ(Mθ - y), to the bit what
    autograd would find, without the time that recording and walking a graph takes.
    """
    like = {"device": model.weight.device, "dtype": model.weight.dtype}
    scale = problem.rows**-0.5
    matrix, target = (problem.matrix * scale).to(**like), (problem.target * scale).to(**like)

    @torch.no_grad()
    def backward() -> Tensor:
        residual = torch.addmv(target, matrix, parameters(model), beta=-1)  # matrix @ θ - target
        gradient = matrix.mT @ (2 * residual)
        if model.bias is not None:
            model.bias.grad, gradient = gradient[:1], gradient[1:]
        model.weight.grad = gradient[None]
        return residual @ residual

    step = [(1.0, backward)]
    return lambda model, epoch: step


def diverged(epoch: int, loss: float, plan: Plan) -> TrainingDivergedError:
    """The error for a loss that is no number any more."""
    known = (
        f"the largest stable one for sgd here is {plan.stable_rate:.6g}"
        if plan.stable_rate
        else "the largest stable one is not known for this optimizer"
    )
    return TrainingDivergedError(
        f"the loss became {loss} at epoch {epoch}. The learning rate {plan.rate:.6g} is probably "
        f"too large ({known}). Lower training.learning_rate, or set training.standardize: true."
    )


def _near_optimum(plan: Plan, training: Training) -> Callable[[nn.Linear], bool]:
    """Whether the loss is within the tolerance of the least-squares optimum's."""
    if training.tolerance is None:
        return lambda model: False
    best = plan.optimum_in_units

    def enough(model: nn.Linear) -> bool:
        step = parameters(model).detach().cpu().double() - best
        gap = (plan.problem.matrix @ step).square().sum() / plan.problem.rows
        return float(gap) <= training.tolerance

    return enough
