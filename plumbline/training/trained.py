"""The result of a training: its curves, how it ended, and the model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from torch import nn

from plumbline.errors import InputError
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
    PRUNED = "pruned"  # a trial of a sweep, which was worse than earlier ones
    FAILED = "failed"  # the message says why


# what a checkpoint calls each curve
STORED = {"loss": "losses", "validation_loss": "validation_losses", "learning_rate": "rates"}


@dataclass
class Curves:
    """How a training is going, epoch by epoch.

    Attributes:
        by_name: the value of every epoch so far by the metric's name: `loss` (before the epoch's
            step, or the mean of its steps'), `validation_loss` (after the epoch) if rows are held
            out for it, and `learning_rate` (of the last step) if it changes.
    """

    by_name: dict[str, list[float]] = field(default_factory=dict)

    def add(self, **values: float | None) -> None:
        """Record an epoch; None: there is no such value."""
        for name, value in values.items():
            if value is not None:
                self.by_name.setdefault(name, []).append(value)

    def report(self, epoch: int, on_epoch: OnEpoch) -> None:
        """Call `on_epoch` with the values of an epoch, which is counted from 1."""
        values = {name: curve[epoch - 1] for name, curve in self.by_name.items()}
        on_epoch(epoch, values.pop("loss"), **values)

    def state_dict(self) -> dict[str, list[float]]:
        return {stored: self.by_name.get(name, []) for name, stored in STORED.items()}

    def load_state_dict(self, state: Mapping[str, list[float]]) -> None:
        self.by_name = {name: state[stored] for name, stored in STORED.items() if state[stored]}


@dataclass(frozen=True)
class Trained:
    """The result of a training.

    Attributes:
        module: takes raw features, (n, d) float64, and returns predictions, (n, 1), or the logits
            of K classes, (n, K).
        curves: `loss` of every epoch, and `validation_loss` and `learning_rate` if there are such.
        status: how training ended.
        message: why it ended early; empty if it did not.
        best_epoch: the epoch whose weights were kept; None if those of the last one were.
        exact: of a linear model what is known exactly, its optimum and learning rates; else None.
        likelihood: of a model that newton trained the most likely parameters; else None.
        head_kept: whether the exact head was better and was kept; None if none was solved for.
    """

    module: nn.Module
    curves: Mapping[str, list[float]]
    status: Status = Status.COMPLETED
    message: str = ""
    best_epoch: int | None = None
    exact: Plan | None = None
    likelihood: LikelihoodFit | None = None
    head_kept: bool | None = None

    @property
    def losses(self) -> list[float]:
        """The loss of every epoch."""
        return self.curves["loss"]

    @property
    def validation_losses(self) -> list[float]:
        """The validation loss after every epoch; empty if no rows are held out for it."""
        return self.curves.get("validation_loss", [])

    @property
    def line(self) -> LinearModel:
        """The line of a linear model, also if its exponential is predicted."""
        return next(each for each in self.module.modules() if isinstance(each, LinearModel))

    @property
    def plan(self) -> Plan:
        """What is known exactly of a linear model."""
        assert self.exact
        return self.exact

    @property
    def coefficients(self) -> list[tuple[float, Coefficient]]:
        """The trained and the exact value of a linear model's intercept and weights, in order.

        Raises:
            InputError: the model is a net, or of classes or counts.
        """
        if not self.exact:
            raise InputError(
                "trained.coefficients needs a linear model with a least-squares optimum. Nets have "
                "none; trained.likelihood has the parameters that newton found."
            )
        values = [self.line.intercept, *self.line.weights.tolist()]
        return list(zip(values, self.plan.optimum.coefficients, strict=True))
