"""The Prefect tasks that train, evaluate and predict, and the choice of a training's start."""

from collections.abc import Mapping
from functools import partial

from prefect import task

from plumbline.config.schema import Config, Training
from plumbline.linear.dataset import Dataset
from plumbline.linear.newton import MOST_STEPS
from plumbline.training import experiment
from plumbline.training.advice import data_notes, is_far, what_helps
from plumbline.training.checkpoint import Checkpoint
from plumbline.training.evaluation import largest_class, r_scores
from plumbline.training.plan import Plan
from plumbline.training.prediction import Prediction, predict_inputs
from plumbline.training.stored import StoredModel
from plumbline.training.trained import OnEpoch, Status, Trained
from tasks.parallel_training import train_on_workers, trains_on_workers
from tasks.screen import bar, note, print_epoch, print_exact, print_fit, print_gain, warn
from tasks.tracking.models import DamagedModelError, load_version
from tasks.tracking.registry import incumbent_of
from tasks.tracking.run import Run

STARTED_FROM, FRESH = "started_from", "fresh"  # a tag, and its value without such a model
SOLVED_AFTER = {"exact": 1, "newton": MOST_STEPS}  # the most epochs
EVERY_EPOCHS, LINES_OF_NETS = 100, 10  # a linear model prints every 100 epochs, a net ten times


def find_start(run: Run, config: Config, data: Dataset) -> StoredModel | None:
    """The champion as the start of training, if `training.start` asks for it and it fits.

    If it does not fit, a note says why. The run's tag `started_from` names the model. A resumed run
    starts from the model in its tag, because the weights of its checkpoint are in that model's
    scales.

    Returns:
        The start; None for a fresh one.

    Raises:
        StoreError: the champion cannot be downloaded now.
        InputError: the model was deleted meanwhile or, of a resumed run, is damaged.
    """
    if config.training.start == "fresh":
        return None
    if known := run.client.get_run(run.id).data.tags.get(STARTED_FROM):
        return None if known == FRESH else load_version(known)
    name = config.registry.model
    uri, start, why = "", None, f"'{name}' has no champion"
    if champion := incumbent_of(name):
        uri = f"models:/{name}/{champion.version}"
        try:
            start = load_version(uri)
            why = start.obstacle(config, data)
        except DamagedModelError as error:
            why = error.reason
        why = why and f"{uri} does not fit, since {why}"
    note(f"training starts fresh: {why}" if why else f"training continues from {uri}")
    run.log(tags={STARTED_FROM: FRESH if why else uri})
    return None if why else start


@task
def train(
    data: Dataset,
    config: Config,
    device: str,
    record: OnEpoch,
    checkpoint: Checkpoint | None = None,
    start: StoredModel | None = None,
) -> Trained:
    """Train on a device, from the checkpoint if there is one; record every epoch's losses.

    Args:
        data: the compressed rows.
        config: the experiment.
        device: the device to train on.
        record: called with the losses of every epoch.
        checkpoint: where the state of the training is stored; None: nowhere.
        start: from `find_start`.

    Raises:
        InputError: the learning rate is so large that training must diverge.
        TrainingDivergedError: the loss became infinite or NaN.
    """
    training = config.training
    if data.encoding.log_target:
        note(
            f"trained on log({data.target}): the loss, the exact optimum and cross-validation are "
            f"of it; scores and predictions are of {data.target} itself"
        )
    for each in data_notes(data, config):
        note(each)
    epochs = SOLVED_AFTER.get(training.optimizer, training.epochs)
    if config.model.kind == "mlp":
        size = training.batch_size
        step = f"batches of {size:,} rows" if size else "all rows in every step"
        note(f"{step}, at most {epochs:,} epochs")
    every = EVERY_EPOCHS if config.model.kind == "linear" else max(1, epochs // LINES_OF_NETS)
    if training.optimizer == "newton":
        every = 1
        _print_ignored(config.training)
    printed = 0
    with bar("Training", epochs) as shown:

        def on_epoch(epoch: int, loss: float, **others: float) -> None:
            nonlocal printed
            record(epoch, loss, **others)
            validation_loss = others.get("validation_loss")
            if epoch % every == 0 or epoch == epochs:
                print_epoch(epoch, epochs, loss, validation_loss)
                printed = epoch
            shown(epoch, _losses(loss, validation_loss))

        on_plan = partial(_print_plan, training=training)
        if trains_on_workers(config, data):
            trained = train_on_workers(config, data, on_epoch, checkpoint)
        else:
            trained = experiment.train(config, data, device, on_epoch, on_plan, checkpoint, start)
    last = len(trained.losses)
    if printed != last:
        print_epoch(last, epochs, trained.losses[-1], (trained.validation_losses or [None])[-1])
    _print_ending(trained, data)
    return trained


@task
def evaluate(trained: Trained, data: Dataset, config: Config) -> dict[str, float]:
    """The metrics of the model on the training rows and the held-out ones."""
    metrics = experiment.measure(trained, data, config)
    table = config.data.kind == "table"
    if table:
        print_fit(metrics, data.counts, largest_class(data))
    print_gain(metrics, data.summary.test.rows)
    if "mean_test_rmse" in metrics and "test_rmse" not in metrics:
        warn(
            "some predictions for held-out rows are infinite, so there is no test_rmse: is a "
            "feature there far outside its training values? data.exclude leaves it out"
        )
    if table and trained.exact:
        print_exact(trained, metrics)
    gap = metrics.get("optimality_gap", 0.0)
    if is_far(trained, config.training, gap):
        warn(what_helps(trained, config.training, gap))
    return metrics


@task
def predict(
    trained: Trained, data: Dataset, config: Config, metrics: Mapping[str, float]
) -> list[Prediction]:
    """The predictions that the configuration asks for."""
    predictions = predict_inputs(trained, data, config, metrics)
    for each in predictions:
        if each.probabilities:
            likeliest = f"{each.value} (probability {each.probabilities[each.value]:.4f})"
            print(f"Predicted class for input {each.input}: {likeliest}", flush=True)
        else:
            print(f"Predicted value for input {each.input}: {each.value:.4f}", end="")
            if each.interval:
                low, high = each.interval
                print(f" ({100 * config.prediction.interval:g} %: {low:.4f} to {high:.4f})", end="")
            print(flush=True)
    return predictions


def _losses(loss: float, validation_loss: float | None) -> str:
    """The losses that the progress bar shows."""
    beside = "" if validation_loss is None else f", validation loss {validation_loss:.4g}"
    return f"loss {loss:.4g}{beside}"


def _print_ending(trained: Trained, data: Dataset) -> None:
    """Print why training stopped, and which weights were kept."""
    if trained.likelihood:
        if trained.message:
            warn(trained.message)
    elif trained.status is Status.STOPPED:
        brought = ""
        if trained.exact and not trained.best_epoch:
            loss = r_scores("train", trained.line, data.summary.train)["train_mse"]
            brought = f", whose step brought the loss to {loss:.6g}"
        note(f"stopped after epoch {len(trained.losses)}{brought}: {trained.message}")
    if best := trained.best_epoch:
        least = trained.validation_losses[best - 1]
        note(f"the weights of epoch {best} are kept: the lowest validation loss, {least:.6g}")
    if trained.head_kept is not None:
        lowers, then = ("lowers", "kept") if trained.head_kept else ("does not lower", "left out")
        note(f"the exact head {lowers} the validation loss and is {then}")


def _print_plan(plan: Plan, training: Training) -> None:
    """Print what is known before training."""
    if training.optimizer == "exact":
        _print_ignored(training)
        return
    if training.learning_rate == "auto":
        stable = plan.largest_stable_rate
        note(f"learning rate {plan.rate:.6g}; the largest stable one is {stable:.6g}")
    if training.tolerance is not None:
        expected = plan.epochs_expected
        when = "not known for this optimizer" if expected is None else f"expected after {expected}"
        note(f"epochs to reach the tolerance: {when}, at most {training.epochs}")


def _print_ignored(training: Training) -> None:
    if ignored := training.ignored:
        name = training.optimizer
        note(f"training.optimizer is {name}, so these have no effect: {', '.join(ignored)}")
