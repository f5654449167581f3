"""What is known of a linear model before its first epoch, from the R factor alone."""

from dataclasses import dataclass, replace
from functools import lru_cache

from torch import Tensor, nn

from plumbline.config.schema import Training
from plumbline.linear.least_squares import LeastSquares, least_squares
from plumbline.linear.penalty import Penalized, fit_with_penalty
from plumbline.linear.problem import (
    Problem,
    Standardizer,
    choose_rate,
    descends,
    epochs_to,
    largest_stable_rate,
)
from plumbline.linear.summary import Summary
from plumbline.training.model import initial_model, parameters
from plumbline.training.stored import StoredModel


@dataclass(frozen=True)
class Plan:
    """Everything that is known before the first epoch.

    Attributes:
        problem: what full-batch squared-error training minimises, on standardised features.
        standardizer: from raw features to those, and back.
        optimum: the exact least-squares fit, in raw units.
        rate: the learning rate that will be used.
        largest_stable_rate: above it training diverges; None if it is not known.
        epochs_expected: epochs to the tolerance; None if there is none, or that is not known.
        penalized: the exact fit with the configured penalty; None without one.
        start: the model whose weights training begins with; None: they are drawn.
    """

    problem: Problem
    standardizer: Standardizer
    optimum: LeastSquares
    rate: float
    largest_stable_rate: float | None
    epochs_expected: int | None = None
    penalized: Penalized | None = None
    start: StoredModel | None = None

    @property
    def target(self) -> Tensor:
        """The parameters that training approaches, in the order of `parameters`: (p,)."""
        best = self.standardizer.trained(self.optimum.intercept, self.optimum.weights)
        return best if self.problem.bias else best[1:]

    def initial_model(self, training: Training, device: str) -> nn.Linear:
        """The layer that training begins with, on standardised features."""
        model = initial_model(len(self.optimum.names), training, device)
        if self.start:
            self.start.give_to(model, self.standardizer)
        return model


def make_plan(data: Summary, training: Training, start: StoredModel | None = None) -> Plan:
    """Find the optimum, the stable learning rates and the epochs to expect.

    Raises:
        InputError: the learning rate must diverge on this data.
    """
    factor = data.train
    standardizer = Standardizer.of(factor, training.bias, bool(training.standardize))
    problem = Problem.of(factor, standardizer, training.bias)
    optimum = optimum_of(data, training.bias)
    rate, stable = training.learning_rate, None
    if descends(training) or rate == "auto":  # takes as long as the optimum of many features
        curvature = problem.curvature(optimum.rank, training.weight_decay)
        rate = choose_rate(training, curvature)
        stable = largest_stable_rate(curvature, training.momentum) if descends(training) else None
    plan = Plan(problem, standardizer, optimum, rate, stable, start=start)
    if training.penalty:
        found = fit_with_penalty(data, training.penalty, training.bias, standardizer)
        plan = replace(plan, penalized=found)
    elif training.tolerance:
        plan = replace(plan, epochs_expected=epochs_needed(plan, training, training.tolerance))
    return plan


@lru_cache(2)
def optimum_of(data: Summary, bias: bool) -> LeastSquares:
    """The exact fit on the training rows, computed once for a summary."""
    return least_squares(data.train, bias)


def epochs_needed(plan: Plan, training: Training, tolerance: float) -> int | None:
    """Epochs until the loss is within a tolerance of the optimum; None if that is not known."""
    if not descends(training):
        return None
    start = parameters(plan.initial_model(training, "cpu")).detach().double()
    return epochs_to(plan.problem, start, plan.target, plan.rate, training.momentum, tolerance)
