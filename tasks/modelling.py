"""Prefect tasks: train, evaluate, predict."""

from collections.abc import Sequence

from prefect import task

from plumbline.config.schema import Config
from plumbline.data.inputs import Row
from plumbline.linear.collinear import written
from plumbline.linear.dataset import Dataset
from plumbline.linear.leaks import leaks
from plumbline.linear.least_squares import squared_error
from plumbline.training import loop as training
from plumbline.training import prediction, trial
from plumbline.training.advice import is_far, what_helps
from plumbline.training.loop import OnEpoch, Trained
from plumbline.training.prediction import Predicted
from plumbline.training.row_objective import row_batches
from tasks.screen import EVERY_EPOCHS, MOST_LINES, bar, note, print_epoch, print_fit, warn


@task
def train(data: Dataset, config: Config, device: str, record: OnEpoch) -> Trained:
    """Train on the selected device, telling the record every epoch's loss.

    Raises:
        InputError: the learning rate must diverge. TrainingDivergedError: the loss did.
    """
    plan = training.make_plan(data.summary, config.training)
    if config.data.kind == "table":
        _say_of_columns(data, plan)
    _say(plan, config)
    epochs = 1 if config.training.optimizer == "exact" else config.training.epochs
    with bar("Training", epochs) as shown:

        def on_epoch(epoch: int, loss: float) -> None:
            record(epoch, loss)
            print_epoch(epoch, epochs, loss)
            shown.show(epoch)

        trained = training.train(
            plan, config.training, device, on_epoch, row_batches(data, config, plan, device)
        )
    if trained.reached:
        last, train = len(trained.losses), data.summary.train
        if last % EVERY_EPOCHS and last != epochs:
            print_epoch(last, epochs, trained.losses[-1], last=True)
        loss = squared_error(train, trained.intercept, trained.weights) / train.weight
        note(
            f"stopped after epoch {last}, whose step brought the loss to {loss:.6g}: within "
            f"{config.training.tolerance} of the exact optimum"
        )
    return trained


@task
def evaluate(trained: Trained, data: Dataset, config: Config) -> dict[str, float]:
    """The metrics of the model on the training rows and the held-out ones."""
    metrics = trial.measure(trained, data, config)
    if config.data.kind == "table":
        print_fit(trained, metrics, data.counts)
    gap = metrics.get("optimality_gap", 0.0)
    if is_far(trained, config.training, gap):
        warn(what_helps(trained, config.training, gap))
    return metrics


@task
def predict(trained: Trained, data: Dataset, inputs: Sequence[Row]) -> list[Predicted]:
    """The predictions that the configuration asks for."""
    predicted = prediction.predict(trained, data.encoding, inputs)
    for each in predicted:
        print(f"Predicted value for input {each.input}: {each.value:.4f}", flush=True)
    return predicted


def _say_of_columns(data: Dataset, plan: training.Plan) -> None:
    """Columns that tell nothing, and those that tell everything."""
    for column, levels in data.encoding.levels.items():
        if len(levels) == 1:
            note(f"column '{column}' is left out: its one level '{levels[0]}' tells nothing")
    if found := leaks(data.summary.train, plan.optimum):
        note(
            f"the target is determined exactly (R² = 1 to 12 digits) by {' and '.join(found)}: "
            "a leak? data.exclude leaves columns out"
        )


def _say(plan: training.Plan, config: Config) -> None:
    """What is unusual about the data, and what is known before training."""
    best = plan.optimum
    if best.rows <= len(best.names):
        note(
            f"{best.rows:g} training rows for {len(best.names)} features: "
            "many models fit them alike"
        )
    for name, equals in list(best.equals.items())[:MOST_LINES]:
        note(f"left out of the exact fit: {written(name, equals)}")
    if len(best.equals) > MOST_LINES:
        note(f"{len(best.equals) - MOST_LINES} more columns are left out: see coefficients.json")
    if config.training.optimizer == "exact":
        if ignored := config.training.ignored:
            note(f"training.optimizer is exact, so these have no effect: {', '.join(ignored)}")
        return
    if config.training.learning_rate == "auto":
        note(f"learning rate {plan.rate:.6g}; the largest stable one is {plan.stable_rate:.6g}")
    if config.training.tolerance is not None:
        expected = plan.epochs_expected
        told = "not known for this optimizer" if expected is None else f"expected after {expected}"
        note(f"epochs to the tolerance: {told}, at most {config.training.epochs}")
