"""How the learning rate changes from step to step."""

import math
from collections.abc import Callable, Mapping

from torch import optim

from plumbline.config.schema import Training

PLATEAU_EPOCHS, PLATEAU_FACTOR = 10, 0.1  # as torch's ReduceLROnPlateau
FIRST_OF_CYCLE, LAST_OF_CYCLE, RISE = 1 / 25, 1e-4 / 25, 0.3  # as torch's OneCycleLR


def cosine(done: float) -> float:
    """From 1 to 0 along half a cosine (Loshchilov and Hutter 2017)."""
    return (1 + math.cos(math.pi * done)) / 2


def one_cycle(done: float) -> float:
    """From 1/25 up to 1 in the first 30 % of the steps, then down to almost 0 (Smith 2018)."""
    if done < RISE:
        return FIRST_OF_CYCLE + (1 - FIRST_OF_CYCLE) * (1 - cosine(done / RISE))
    return LAST_OF_CYCLE + (1 - LAST_OF_CYCLE) * cosine((done - RISE) / (1 - RISE))


CHANGING = ("_done", "share", "_best", "_bad", "_level")  # what a checkpoint holds

SHAPES: dict[str, Callable[[float], float]] = {"cosine": cosine, "one_cycle": one_cycle}


class RateSchedule:
    """Sets an optimizer's rate before each step, as a share of the configured one.

    Attributes:
        steps: the number of steps in all epochs.
        share: the factor of the configured rate that the next step uses.
    """

    def __init__(self, optimizer: optim.Optimizer, training: Training, steps: int) -> None:
        self._optimizer, self.steps = optimizer, max(1, steps)
        self._rates = [group["lr"] for group in optimizer.param_groups]
        self._shape = SHAPES.get(training.rate_schedule)
        self._plateau = training.rate_schedule == "plateau"
        self._warmup, self._done, self.share = training.warmup, 0, 1.0
        self._best, self._bad, self._level = math.inf, 0, 1.0
        self.changes = bool(self._shape or self._plateau or self._warmup)

    def state_dict(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in CHANGING}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        vars(self).update(state)

    @property
    def rate(self) -> float:
        """The rate of the last step."""
        return self._optimizer.param_groups[0]["lr"]

    def before_step(self) -> None:
        """Set the rate of the next step."""
        if not self.changes:
            return
        done, self._done = self._done / self.steps, self._done + 1
        self.share = self._shape(done) if self._shape else self._level
        if done < self._warmup:
            self.share *= (done + 1 / self.steps) / self._warmup
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * self.share

    def after_epoch(self, loss: float) -> None:
        """Lower the rate of `plateau` if the loss has not improved for ten epochs."""
        if not self._plateau:
            return
        if loss < self._best * (1 - 1e-4):
            self._best, self._bad = loss, 0
            return
        self._bad += 1
        if self._bad > PLATEAU_EPOCHS:
            self._level, self._bad = self._level * PLATEAU_FACTOR, 0
