"""An experiment from its dataset to its result: train, evaluate, predict."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
import torch

from plumbline.config.schema import Config
from plumbline.data.encoding import Encoding, EncodingError
from plumbline.data.inputs import Row, named_values
from plumbline.errors import InputError
from plumbline.linear.dataset import Dataset
from plumbline.training import loop
from plumbline.training.evaluation import evaluate
from plumbline.training.loop import OnEpoch, Status, Trained
from plumbline.training.objectives import objective_of
from plumbline.training.plan import Plan, make_plan


@dataclass(frozen=True)
class Prediction:
    """The prediction for one row that the configuration asks about.

    Attributes:
        input: the row as the configuration gives it.
        label: the input's values as one word for a metric's name, such as `5.0`.
        value: the prediction in units of the target.
    """

    input: Row
    label: str
    value: float


@dataclass(frozen=True)
class Result:
    """A trained experiment: everything that a record of it needs.

    Attributes:
        config: the experiment.
        data: what it was trained on.
        trained: the model.
        metrics: as `measure` gives them.
        predictions: for the configured inputs.
    """

    config: Config
    data: Dataset
    trained: Trained
    metrics: dict[str, float]
    predictions: Sequence[Prediction]

    @property
    def all_metrics(self) -> dict[str, float]:
        """The metrics, and each prediction as `prediction_` with its input."""
        return self.metrics | {f"prediction_{p.label}": p.value for p in self.predictions}


@dataclass(frozen=True)
class Outcome:
    """What came of a trial.

    Attributes:
        status: how its training ended.
        losses: the loss before each epoch's step, up to the epoch in which it failed.
        trained: the model; None if the trial failed.
        metrics: as `measure` gives them; empty if it failed.
        predictions: for the configured inputs.
        error: why it failed; empty if it did not.
    """

    status: Status
    losses: list[float]
    trained: Trained | None = None
    metrics: dict[str, float] | None = None
    predictions: Sequence[Prediction] = ()
    error: str = ""

    @property
    def failed(self) -> bool:
        """Whether there is no result."""
        return self.status is Status.FAILED


def train(
    config: Config,
    data: Dataset,
    device: str,
    on_epoch: OnEpoch = lambda epoch, loss: None,
    on_plan: Callable[[Plan], None] = lambda plan: None,
) -> Trained:
    """Plan, call `on_plan` with what is known, and train.

    Raises:
        InputError: the learning rate must diverge. TrainingDivergedError: the loss did.
    """
    plan = make_plan(data.summary, config.training)
    on_plan(plan)
    objective = objective_of(data, config, plan, device)
    return loop.train(plan, config.training, device, on_epoch, objective)


def measure(trained: Trained, data: Dataset, config: Config) -> dict[str, float]:
    """All metrics of a trained model: on the training rows and the held-out ones, and counts.

    Returns:
        What `evaluate` gives; epochs_expected, if it is known; of tables, how many files and
        rows were read and dropped.
    """
    metrics = evaluate(trained, data.summary, config.training.bias)
    if trained.exact.epochs_expected is not None:
        metrics["epochs_expected"] = float(trained.exact.epochs_expected)
    return metrics | (data.counts if config.data.kind == "table" else {})


def predict(
    trained: Trained, encoding: Encoding, rows: Sequence[Row], key: str = "prediction.inputs"
) -> list[Prediction]:
    """Predict for each row, given as a number, a list in the order of the columns, or a mapping.

    Args:
        trained: the model.
        encoding: from raw columns to its features.
        rows: what to predict.
        key: what an error calls the rows.

    Raises:
        InputError: a row has the wrong width, an unknown or missing column or level.
    """
    predictions = []
    for number, row in enumerate(rows):
        place = f"{key}[{number}]"
        values = named_values(row, encoding.columns, place)
        try:
            features = torch.from_numpy(encoding.encode(pd.DataFrame([values])))[0]
        except EncodingError as error:
            raise InputError(f"{place}: {error}") from None
        label = "_".join(map(str, values.values()))
        predictions.append(Prediction(row, label, float(trained.module(features))))
    return predictions


def attempt(
    config: Config,
    data: Dataset,
    device: str,
    on_epoch: OnEpoch = lambda epoch, loss: None,
) -> Outcome:
    """Train, evaluate and predict; whatever goes wrong is the outcome's error."""
    losses: list[float] = []

    def record(epoch: int, loss: float) -> None:
        losses.append(loss)
        on_epoch(epoch, loss)

    try:
        trained = train(config, data, device, record)
        predictions = predict(trained, data.encoding, config.prediction.inputs)
        metrics = measure(trained, data, config)
        return Outcome(trained.status, losses, trained, metrics, predictions)
    except Exception as error:  # one trial's defect must not end the other trials
        return Outcome(Status.FAILED, losses, error=f"{type(error).__name__}: {error}")
