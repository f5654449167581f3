"""One trial of a sweep: an experiment from prepared data to its result, without a word."""

from dataclasses import dataclass

from plumbline.config.schema import Config
from plumbline.linear.dataset import Dataset
from plumbline.training.evaluation import evaluate
from plumbline.training.loop import OnEpoch, Trained, make_plan, train
from plumbline.training.prediction import Predicted, predict
from plumbline.training.row_objective import row_batches


@dataclass(frozen=True)
class Outcome:
    """What came of a trial.

    Attributes:
        losses: the loss before each epoch's step, up to where it failed.
        trained: the model; None where the trial failed.
        metrics: as `measure` gives them; empty where it failed.
        predictions: for the configured inputs.
        reason: why it failed; empty where it did not.
    """

    losses: list[float]
    trained: Trained | None = None
    metrics: dict[str, float] | None = None
    predictions: tuple[Predicted, ...] = ()
    reason: str = ""


def attempt(
    config: Config,
    data: Dataset,
    device: str,
    on_epoch: OnEpoch = lambda epoch, loss: None,
) -> Outcome:
    """Train, evaluate and predict; whatever goes wrong is the outcome's reason."""
    losses: list[float] = []

    def told(epoch: int, loss: float) -> None:
        losses.append(loss)
        on_epoch(epoch, loss)

    try:
        plan = make_plan(data.summary, config.training)
        batches = row_batches(data, config, plan, device)
        trained = train(plan, config.training, device, told, batches)
        predictions = predict(trained, data.encoding, config.prediction.inputs)
        return Outcome(losses, trained, measure(trained, data, config), tuple(predictions))
    except Exception as error:  # one trial's defect must not end the other trials
        return Outcome(losses, reason=f"{type(error).__name__}: {error}")


def measure(trained: Trained, data: Dataset, config: Config) -> dict[str, float]:
    """All metrics of a trained model: on the training rows and the held-out ones, and counts.

    Returns:
        What `evaluate` gives; epochs_expected, where it is known; of tables, how many files and
        rows were read and dropped.
    """
    metrics = evaluate(trained, data.summary, config.training.bias)
    if trained.plan.epochs_expected is not None:
        metrics["epochs_expected"] = float(trained.plan.epochs_expected)
    return metrics | (data.counts if config.data.kind == "table" else {})
