"""The training loop, and the closed form beside it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import torch
from torch import nn, optim

from plumbline.config.schema import Training
from plumbline.errors import TrainingDivergedError
from plumbline.linear.least_squares import Coefficient
from plumbline.training.model import LinearModel, initial_model, make_optimizer, parameters
from plumbline.training.objectives import FactorObjective, Objective
from plumbline.training.plan import Plan

OnEpoch = Callable[[int, float], None]


class Status(StrEnum):
    """How a training ended."""

    COMPLETED = "completed"  # after the configured number of epochs, or by the closed form
    STOPPED = "stopped"  # a stop rule ended it; the message says why
    FAILED = "failed"  # the message says why


@dataclass(frozen=True)
class Trained:
    """A trained model.

    Attributes:
        module: takes raw features, (n, d) float64, and returns predictions, (n, 1).
        losses: the loss before each epoch's step.
        status: how training ended.
        message: why a stop rule ended it.
        exact: what is known exactly, because the model is linear: the optimum, the rates.
    """

    module: LinearModel
    losses: list[float]
    status: Status
    message: str
    exact: Plan

    @property
    def coefficients(self) -> list[tuple[float, Coefficient]]:
        """The trained value and the exact one of the intercept and each feature, in order."""
        values = [self.module.intercept, *self.module.weights.tolist()]
        return list(zip(values, self.exact.optimum.coefficients, strict=True))


class StopRule(Protocol):
    """Asked after every epoch whether training should end."""

    def reason(self, model: nn.Module, epoch: int, loss: float) -> str | None:
        """Why training ends after this epoch; None if it goes on."""


@dataclass(frozen=True)
class Tolerance:
    """Stop as soon as the loss is within a tolerance of the least-squares optimum's."""

    plan: Plan
    tolerance: float

    def reason(self, model: nn.Linear, epoch: int, loss: float) -> str | None:
        problem = self.plan.problem
        step = parameters(model).detach().cpu().double() - self.plan.target
        gap = float((problem.matrix @ step).square().sum() / problem.rows)
        near = gap <= self.tolerance
        return f"within {self.tolerance} of the exact optimum" if near else None


def train(
    plan: Plan,
    training: Training,
    device: str,
    on_epoch: OnEpoch,
    objective: Objective | None = None,
) -> Trained:
    """Train nn.Linear with one of torch.optim's optimizers, or call a solver beside the loop.

    Args:
        plan: from make_plan.
        training: the configuration's section.
        device: a device of this machine.
        on_epoch: called with (epoch from 1, the loss before its step) after every step; by the
            closed form once, with the optimum's loss.
        objective: what an optimizer minimises; default: the mean squared error, on the R factor.

    Raises:
        TrainingDivergedError: the loss became infinite or NaN.
    """
    if solve := SOLVERS.get(training.optimizer):
        return solve(plan, on_epoch)
    model = initial_model(len(plan.optimum.names), training, device)
    optimizer = make_optimizer(model, training, plan.rate)
    objective = objective or FactorObjective.of(plan.problem, training.dtype, device)
    stop_rules = [Tolerance(plan, training.tolerance)] if training.tolerance else []
    losses: list[float] = []

    def check_and_record(epoch: int, loss: float) -> None:
        if not math.isfinite(loss):
            raise _diverged(epoch, loss, plan)
        losses.append(loss)
        on_epoch(epoch, loss)

    message = loop(model, optimizer, objective, training.epochs, check_and_record, stop_rules)
    bias = model.bias if model.bias is not None else torch.zeros(1)
    intercept, weights = plan.standardizer.raw(bias, model.weight)
    if not (math.isfinite(intercept) and weights.isfinite().all()):
        raise _diverged(len(losses), math.inf, plan)
    status = Status.COMPLETED if message is None else Status.STOPPED
    return Trained(LinearModel(intercept, weights), losses, status, message or "", plan)


def loop(
    model: nn.Module,
    optimizer: optim.Optimizer,
    objective: Objective,
    epochs: int,
    on_epoch: OnEpoch,
    stop_rules: Sequence[StopRule],
) -> str | None:
    """Run the epochs; returns why a stop rule ended them, None if none did."""
    for epoch in range(1, epochs + 1):
        loss = 0.0
        for share, forward_loss_backward in objective.steps(model, epoch):
            loss += share * optimizer.step(forward_loss_backward).item()
        on_epoch(epoch, loss)
        for rule in stop_rules:
            if reason := rule.reason(model, epoch, loss):
                return reason
    return None


def solve_exactly(plan: Plan, on_epoch: OnEpoch) -> Trained:
    """Take the least-squares optimum, in raw units and float64, as what one epoch trained."""
    best = plan.optimum
    on_epoch(1, best.mse)
    model = LinearModel(best.intercept, best.weights)
    return Trained(model, [best.mse], Status.COMPLETED, "", plan)


# What training.optimizer names beside the optimizers of torch.
SOLVERS: dict[str, Callable[[Plan, OnEpoch], Trained]] = {"exact": solve_exactly}


def _diverged(epoch: int, loss: float, plan: Plan) -> TrainingDivergedError:
    """The error for a loss that is not a finite number."""
    known = (
        f"the largest stable one for sgd here is {plan.largest_stable_rate:.6g}"
        if plan.largest_stable_rate
        else "the largest stable one is not known for this optimizer"
    )
    return TrainingDivergedError(
        f"the loss became {loss} at epoch {epoch}. The learning rate {plan.rate:.6g} is probably "
        f"too large ({known}). Lower training.learning_rate, or set training.standardize: true."
    )
