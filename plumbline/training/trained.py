"""What comes of a training: its curve, how it ended, and the model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from torch import nn

from plumbline.linear.least_squares import Coefficient
from plumbline.linear.newton import LikelihoodFit
from plumbline.training.model import LinearModel
from plumbline.training.plan import Plan

# Called with (epoch, loss), and with validation_loss and learning_rate by name if there are such.
OnEpoch = Callable[..., None]


class Status(StrEnum):
    """How a training ended."""

    COMPLETED = "completed"  # after the configured number of epochs, or by the closed form
    STOPPED = "stopped"  # a stop rule ended it; the message says why
    PRUNED = "pruned"  # of a sweep's trial: it was poor beside others
    FAILED = "failed"  # the message says why


@dataclass
class Curve:
    """How a training went.

    Attributes:
        losses: the loss before each epoch's step, or the mean of its steps'.
        status: how it ended.
        message: why a stop rule ended it.
        validation_losses: after each epoch; empty if no rows are held out for it.
        best_epoch: the epoch whose weights were kept; None if those of the last one were.
        rates: the learning rate of each epoch's last step; empty if it never changes.
    """

    losses: list[float] = field(default_factory=list)
    status: Status = Status.COMPLETED
    message: str = ""
    validation_losses: list[float] = field(default_factory=list)
    best_epoch: int | None = None
    rates: list[float] = field(default_factory=list)

    def add(self, loss: float, validation_loss: float | None, rate: float | None) -> None:
        """Record an epoch."""
        self.losses.append(loss)
        if rate is not None:
            self.rates.append(rate)
        if validation_loss is not None:
            self.validation_losses.append(validation_loss)

    @property
    def curves(self) -> dict[str, list[float]]:
        """What is known of every epoch, by the metric's name; empty if there is no such value."""
        return {
            "loss": self.losses,
            "validation_loss": self.validation_losses,
            "learning_rate": self.rates,
        }

    def report(self, epoch: int, on_epoch: OnEpoch) -> None:
        """Call `on_epoch` with what is known of an epoch, from 1."""
        known = {name: values[epoch - 1] for name, values in self.curves.items() if values}
        on_epoch(epoch, known.pop("loss"), **known)

    def state_dict(self) -> dict[str, list[float]]:
        return {name: getattr(self, name) for name in ("losses", "validation_losses", "rates")}

    def load_state_dict(self, state: Mapping[str, list[float]]) -> None:
        vars(self).update(state)


@dataclass
class Trained(Curve):
    """A trained model, and how its training went.

    Attributes:
        module: takes raw features, (n, d) float64, and returns predictions, (n, 1), or the logits
            of K classes, (n, K).
        exact: what is known exactly of a linear model: the optimum, the rates; None of others.
        likelihood: of newton's models the most likely parameters; None of others.
        head_kept: whether the exact head is better and was kept; None if none was asked for.
    """

    module: nn.Module = field(kw_only=True)
    exact: Plan | None = None
    likelihood: LikelihoodFit | None = None
    head_kept: bool | None = None

    @property
    def line(self) -> LinearModel:
        """Of a linear model the line, also if its exponential is predicted."""
        return self.module if isinstance(self.module, LinearModel) else self.module[0]

    @property
    def coefficients(self) -> list[tuple[float, Coefficient]]:
        """Of a linear model the trained value and the exact one of the intercept and each feature,
        in order."""
        values = [self.line.intercept, *self.line.weights.tolist()]
        return list(zip(values, self.exact.optimum.coefficients, strict=True))
