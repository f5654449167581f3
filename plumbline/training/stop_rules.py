"""Rules that end training before its last epoch, and the weights that are kept then."""

import math
import time
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from plumbline.config.schema import Training
from plumbline.training.data_parallel import of_all
from plumbline.training.model import parameters
from plumbline.training.plan import Plan


class StopRule(Protocol):
    """Asked after every epoch whether training should end; each class says of which `model`."""

    def reason(self, model: Any, epoch: int, validation_loss: float | None) -> str | None:
        """Why training ends after this epoch; None if it continues."""


@dataclass(frozen=True)
class Tolerance:
    """Stop as soon as the loss is within a tolerance of the least-squares optimum's."""

    plan: Plan
    tolerance: float

    def reason(self, model: nn.Linear, epoch: int, validation_loss: float | None) -> str | None:
        problem = self.plan.problem
        step = parameters(model).detach().cpu().double() - self.plan.target
        gap = float((problem.matrix @ step).square().sum() / problem.rows)
        near = gap <= self.tolerance
        return f"within {self.tolerance} of the exact optimum" if near else None


@dataclass
class BestWeights:
    """Remember the weights of the epoch with the least validation loss.

    Attributes:
        patience: stop after this many epochs without a better one; None: never.
        epoch: the best so far, from 1; 0: none.
        loss: its validation loss.
    """

    patience: int | None
    epoch: int = 0
    loss: float = math.inf
    _weights: dict[str, Tensor] = field(default_factory=dict)

    def reason(self, model: nn.Module, epoch: int, validation_loss: float | None) -> str | None:
        if validation_loss is not None and validation_loss < self.loss:
            self.epoch, self.loss = epoch, validation_loss
            self._weights = {name: each.clone() for name, each in model.state_dict().items()}
        if self.patience and epoch - self.epoch >= self.patience:
            return f"no better validation loss for {self.patience} epochs"
        return None

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "loss": self.loss, "weights": self._weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.epoch, self.loss, self._weights = state["epoch"], state["loss"], state["weights"]

    def restore(self, model: nn.Module) -> None:
        """Give a model the best weights, if there are any."""
        if self._weights:
            model.load_state_dict(self._weights)


@dataclass
class Minutes:
    """Stop after some minutes of training, not counting the time between interruptions."""

    most: float
    began: float = field(default_factory=time.monotonic)

    def reason(self, model: nn.Module, epoch: int, validation_loss: float | None) -> str | None:
        over = of_all(time.monotonic() - self.began, dist.ReduceOp.MAX) >= 60 * self.most
        return f"the time is over (training.max_minutes: {self.most:g})" if over else None

    def state_dict(self) -> dict[str, float]:
        return {"elapsed": time.monotonic() - self.began}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self.began = time.monotonic() - state["elapsed"]


def stop_rules(training: Training, best: BestWeights, plan: Plan | None) -> list[StopRule]:
    """The configured rules; with patience or a limit of time, the best weights are kept."""
    rules: list[StopRule] = []
    if plan and training.tolerance:
        rules.append(Tolerance(plan, training.tolerance))
    if training.patience or training.max_minutes:
        rules.append(best)
    if training.max_minutes:
        rules.append(Minutes(training.max_minutes))
    return rules


class Averaged:
    """A running mean of a module's weights over about the last `window` steps.

    With a constant learning rate it has the effect of a decaying one (Izmailov et al.,
    arXiv:1803.05407) at any moment, so patience can end training early. The first `window` steps
    count equally. torch's AveragedModel does the same, but traverses both modules at every step.
    """

    def __init__(self, module: nn.Module, window: int) -> None:
        self.module, self._window, self._taken = deepcopy(module), window, 0
        self._mean: list[Tensor] = [*self.module.parameters()]
        self._now: list[Tensor] = [*module.parameters()]

    @torch.no_grad()
    def update(self) -> None:
        """Update the mean after a step of the optimizer."""
        self._taken += 1
        torch._foreach_lerp_(self._mean, self._now, 1 / min(self._taken, self._window))

    def state_dict(self) -> dict[str, Any]:
        return {"module": self.module.state_dict(), "taken": self._taken}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        self._taken = state["taken"]
