"""Prefect tasks: train, evaluate, predict, and what they print."""

from collections.abc import Sequence

from prefect import task

from plumbline.config.schema import Config
from plumbline.data.inputs import Row
from plumbline.linear.collinear import written
from plumbline.linear.dataset import Dataset
from plumbline.linear.least_squares import LeastSquares, leaks
from plumbline.training import experiment
from plumbline.training.advice import is_far, what_helps
from plumbline.training.evaluation import r_scores
from plumbline.training.experiment import Prediction
from plumbline.training.loop import OnEpoch, Status, Trained
from plumbline.training.plan import Plan
from tasks.screen import EVERY_EPOCHS, MOST_LINES, bar, note, print_epoch, print_fit, warn


@task
def train(data: Dataset, config: Config, device: str, record: OnEpoch) -> Trained:
    """Train on the selected device; record every epoch's loss.

    Raises:
        InputError: the learning rate must diverge. TrainingDivergedError: the loss did.
    """
    epochs = 1 if config.training.optimizer == "exact" else config.training.epochs
    with bar("Training", epochs) as shown:

        def on_epoch(epoch: int, loss: float) -> None:
            record(epoch, loss)
            print_epoch(epoch, epochs, loss)
            shown.show(epoch)

        trained = experiment.train(
            config, data, device, on_epoch, lambda plan: _print_plan(plan, data, config)
        )
    if trained.status is Status.STOPPED:
        last = len(trained.losses)
        if last % EVERY_EPOCHS and last != epochs:
            print_epoch(last, epochs, trained.losses[-1], last=True)
        loss = r_scores("train", trained.module, data.summary.train)["train_mse"]
        note(
            f"stopped after epoch {last}, whose step brought the loss to {loss:.6g}: "
            f"{trained.message}"
        )
    return trained


@task
def evaluate(trained: Trained, data: Dataset, config: Config) -> dict[str, float]:
    """The metrics of the model on the training rows and the held-out ones."""
    metrics = experiment.measure(trained, data, config)
    if config.data.kind == "table":
        print_fit(trained, metrics, data.counts)
    gap = metrics.get("optimality_gap", 0.0)
    if is_far(trained, config.training, gap):
        warn(what_helps(trained, config.training, gap))
    return metrics


@task
def predict(trained: Trained, data: Dataset, inputs: Sequence[Row]) -> list[Prediction]:
    """The predictions that the configuration asks for."""
    predictions = experiment.predict(trained, data.encoding, inputs)
    for each in predictions:
        print(f"Predicted value for input {each.input}: {each.value:.4f}", flush=True)
    return predictions


def _print_plan(plan: Plan, data: Dataset, config: Config) -> None:
    """What is unusual about the data, and what is known before training."""
    if config.data.kind == "table":
        _print_uninformative(data, plan.optimum)
    _print_optimum(plan.optimum)
    training = config.training
    if training.optimizer == "exact":
        if ignored := training.ignored:
            note(f"training.optimizer is exact, so these have no effect: {', '.join(ignored)}")
        return
    if training.learning_rate == "auto":
        stable = plan.largest_stable_rate
        note(f"learning rate {plan.rate:.6g}; the largest stable one is {stable:.6g}")
    if training.tolerance is not None:
        expected = plan.epochs_expected
        when = "not known for this optimizer" if expected is None else f"expected after {expected}"
        note(f"epochs to the tolerance: {when}, at most {training.epochs}")


def _print_uninformative(data: Dataset, best: LeastSquares) -> None:
    """Columns that say nothing about the target, and those that say everything."""
    for column, levels in data.encoding.levels.items():
        if len(levels) == 1:
            note(f"column '{column}' is left out: its one level '{levels[0]}' tells nothing")
    if found := leaks(data.summary.train, best):
        note(
            f"the target is determined exactly (R² = 1 to 12 digits) by {' and '.join(found)}: "
            "a leak? data.exclude leaves columns out"
        )


def _print_optimum(best: LeastSquares) -> None:
    """Too few rows, and columns that others determine."""
    if best.rows <= len(best.names):
        note(
            f"{best.rows:g} training rows for {len(best.names)} features: "
            "many models fit them alike"
        )
    for name, equals in list(best.equals.items())[:MOST_LINES]:
        note(f"left out of the exact fit: {written(name, equals)}")
    if len(best.equals) > MOST_LINES:
        note(f"{len(best.equals) - MOST_LINES} more columns are left out: see coefficients.json")
