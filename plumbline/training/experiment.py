"""An experiment from its dataset to its result: train, measure, predict."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from plumbline.config.schema import Config, without_auto
from plumbline.errors import InputError
from plumbline.linear.dataset import Dataset
from plumbline.linear.problem import Problem, Standardizer
from plumbline.linear.sample import SAMPLE_ROWS
from plumbline.threads import threads_for_columns, threads_for_step
from plumbline.training.checkpoint import Checkpoint
from plumbline.training.data_parallel import DataParallel, in_a_group
from plumbline.training.device import Draws
from plumbline.training.evaluation import baselines, evaluate, scores
from plumbline.training.exported import Exported, export
from plumbline.training.loop import train_linear, train_net
from plumbline.training.model import Exp
from plumbline.training.nets import build_net, with_plain_indicators
from plumbline.training.newton import train_by_newton
from plumbline.training.objectives import FactorObjective, Objective, RowObjective
from plumbline.training.plan import Plan, make_plan
from plumbline.training.prediction import (
    Prediction,
    check_interval,
    conformal_half_width,
    encoded,
    predict_inputs,
)
from plumbline.training.rows import TrainingRows, tensor_type
from plumbline.training.stored import StoredModel
from plumbline.training.trained import Curves, OnEpoch, Status, Trained
from plumbline.training.user_module import blamed
from plumbline.training.user_trial import try_user_module


@dataclass(frozen=True)
class Result:
    """A trained experiment: everything that is recorded of it.

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
        """The metrics, and each prediction as `prediction_INPUT`; if the target has classes, which
        are no numbers, the probability of each class as `probability_CLASS_INPUT`."""
        found = dict(self.metrics)
        for p in self.predictions:
            classes = {f"probability_{name}_{p.label}": v for name, v in p.probabilities.items()}
            found |= classes or {f"prediction_{p.label}": float(p.value)}
        return found

    @cached_property
    @torch.no_grad()
    def outputs(self) -> Tensor:
        """The model's outputs for the first rows of the sample, which pictures show: (m, 1), or the
        logits of K classes, (m, K), float64."""
        return self.trained.module(self.data.summary.sample.rows[:SAMPLE_ROWS, :-1]).double()


@dataclass(frozen=True)
class Outcome:
    """The outcome of a trial.

    Attributes:
        status: how its training ended.
        curves: as those of Trained, up to the epoch in which it failed or was pruned.
        trained: the model; None if the trial failed or was pruned, or is only known from its run.
        metrics: from `measure`; empty if the trial failed or was pruned.
        predictions: for the configured inputs.
        error: why the trial failed or was pruned; empty if it did not.
    """

    status: Status
    curves: Mapping[str, Sequence[float]]
    trained: Trained | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    predictions: Sequence[Prediction] = ()
    error: str = ""

    @property
    def losses(self) -> Sequence[float]:
        """The loss of every epoch that there was."""
        return self.curves.get("loss", ())


def train(
    config: Config,
    data: Dataset,
    device: str,
    on_epoch: OnEpoch = lambda epoch, loss, **others: None,
    on_plan: Callable[[Plan], None] = lambda plan: None,
    checkpoint: Checkpoint | None = None,
    start: StoredModel | None = None,
) -> Trained:
    """Train the configured model.

    Args:
        config: from `with_budget`.
        data: the rows, and what is known of them.
        device: a device of this machine.
        on_epoch: as for `Trainer.fit`.
        on_plan: called before a linear model is trained.
        checkpoint: training resumes there, if it holds a state.
        start: a model without an obstacle whose weights training begins with; None: random ones.

    Raises:
        InputError: the learning rate must diverge, the user's module is wrong, or an input to
            predict has a level that no row has.
        TrainingDivergedError: the loss became infinite or NaN.
    """
    check_interval(config.prediction.interval, data.summary.sample)
    encoded(data.encoding, config.prediction.inputs)  # refuse a wrong one before training
    training, batch_size = config.training, without_auto(config.training.batch_size)
    if training.optimizer == "newton":
        return train_by_newton(data, training.memory_mb, on_epoch)
    if _is_net(config, data):
        net, row_objective = _net_and_objective(config, data, device, start)
        mlp = config.model.kind == "mlp"
        weights = sum(each.numel() for each in net.parameters()) if mlp else math.inf
        with threads_for_step(batch_size or data.summary.train.rows, weights):
            trained = train_net(net, config.model, row_objective, on_epoch, checkpoint)
    else:
        columns = len(data.summary.columns)
        with threads_for_columns(columns):
            plan = make_plan(data.summary, training, start)
        on_plan(plan)
        objective = objective_of(data, config, plan, device)
        rows = columns if training.compressible else batch_size or data.summary.train.rows
        with threads_for_step(rows, columns):
            trained = train_linear(plan, training, device, on_epoch, objective, checkpoint)
    if not data.encoding.log_target:
        return trained
    return replace(trained, module=nn.Sequential(trained.module, Exp()))


def steps_on_rows(config: Config, data: Dataset) -> bool:
    """Whether an optimizer trains on the rows, not on their R factor, and no solver does."""
    training = config.training
    return training.optimizer != "newton" and (_is_net(config, data) or not training.compressible)


def _is_net(config: Config, data: Dataset) -> bool:
    linear = config.model.kind == "linear" and config.training.loss != "poisson"
    return not linear or bool(data.encoding.classes)


def objective_of(data: Dataset, config: Config, plan: Plan, device: str) -> Objective:
    """A linear model's objective: on the R factor if it determines the loss, else on the rows."""
    training, held = config.training, data.summary.validation
    if not training.compressible:
        return _row_objective(data, config, plan.standardizer, device, None)
    validation = Problem.of(held, plan.standardizer, training.bias) if held.rows else None
    return FactorObjective.of(plan.problem, training.dtype, device, validation)


def _net_and_objective(
    config: Config, data: Dataset, device: str, start: StoredModel | None
) -> tuple[nn.Module, RowObjective]:
    """The net that training begins with, and the loss that it minimises."""
    training, draws = config.training, Draws(config.training.seed, device)
    standardizer = _standardizer_of(config, data)
    if config.model.kind == "python":
        rows = next(data.rows(("train",), data.encoding.features))
        outputs = len(data.outputs)
        try_user_module(config.model, training, rows, outputs, standardizer, device)
    with draws():
        net = build_net(config, data.encoding).to(tensor_type(training))
    if start:
        standardizer = start.give_to(net, standardizer)
    return net, _row_objective(data, config, standardizer, device, draws)


def _standardizer_of(config: Config, data: Dataset) -> Standardizer:
    """The scales that a net is trained in. A user's module gets the target as it is."""
    training, kind = config.training, config.model.kind
    standardizer = Standardizer.of(data.summary.train, True, bool(training.standardize))
    if kind == "mlp" and training.standardize:
        standardizer = with_plain_indicators(standardizer, data.encoding)
    if kind == "python" or data.encoding.classes:
        return standardizer
    return standardizer.with_target(data.summary.train, training.loss == "poisson")


def _row_objective(
    data: Dataset, config: Config, standardizer: Standardizer, device: str, draws: Draws | None
) -> RowObjective:
    """The loss on the rows, computed by all processes that train together, if there are several."""
    model, limits = config.model, None
    if model.kind == "mlp" and not data.encoding.classes:  # found as the rows are read
        limits = math.inf, -math.inf
    rows = TrainingRows(data, config.training, standardizer, device, limits)
    kind = DataParallel if in_a_group() else RowObjective
    if model.kind == "python":
        return kind(rows, draws, blamed(model))
    return kind(rows, draws if model.kind == "mlp" and model.dropout else None)


def sendable(trained: Trained, config: Config, data: Dataset) -> Trained:
    """The same for another process, which cannot import the class of a user's module and would not
    unpickle a parametrized one: the module as its pt2 file."""
    if config.model.kind != "python":
        return trained
    return replace(trained, module=Exported(export(trained.module, len(data.encoding.features))))


def measure(trained: Trained, data: Dataset, config: Config) -> dict[str, float]:
    """All metrics of a trained model: on the training rows and the held-out ones, and counts.

    Returns:
        What `evaluate` gives of a linear model; of others, and of a target's logarithm, the scores
        on every row of a share. Of both the baselines, best_epoch if the best weights were kept,
        and of tables, how many files and rows were read and dropped.
    """
    log_target = data.encoding.log_target
    metrics = evaluate(trained, data.summary) if trained.exact else {}
    if not trained.exact or log_target:
        for share in ("train", "test"):
            metrics |= scores(share, trained.module, data)
    metrics |= baselines(data, config, trained)
    judged = "test_log_loss" if data.encoding.classes else "test_rmse"
    if judged in metrics and (linear := metrics.get(f"linear_{judged}")):
        metrics["gain_over_linear"] = 1 - metrics[judged] / linear
    if level := config.prediction.interval:
        width = conformal_half_width(trained.module, data.summary.sample, level, log_target)
        metrics["interval_half_width"] = width
    known = {"exact_head_kept": trained.head_kept, "best_epoch": trained.best_epoch}
    metrics |= {name: float(value) for name, value in known.items() if value is not None}
    return metrics | (data.counts if config.data.kind == "table" else {})


class _PrunedError(Exception):
    """Ends a trial that is worse than earlier ones."""


def attempt(
    config: Config,
    data: Dataset,
    device: str,
    is_poor: Callable[[int, float], bool] = lambda epoch, validation_loss: False,
) -> Outcome:
    """Train, measure and predict; whatever goes wrong becomes the outcome's error.

    Args:
        is_poor: called after each epoch with a validation loss; True prunes the trial.
    """
    curves = Curves()

    def record(epoch: int, loss: float, **others: float) -> None:
        curves.add(loss=loss, **others)
        if "validation_loss" in others and is_poor(epoch, others["validation_loss"]):
            raise _PrunedError(f"worse than the median of earlier trials after epoch {epoch}")

    try:
        trained = train(config, data, device, record)
        metrics = measure(trained, data, config)
        predictions = predict_inputs(trained, data, config, metrics)
        trained = sendable(trained, config, data)
        return Outcome(trained.status, curves.by_name, trained, metrics, predictions)
    except _PrunedError as poor:
        return Outcome(Status.PRUNED, curves.by_name, error=str(poor))
    except InputError as error:
        return Outcome(Status.FAILED, curves.by_name, error=str(error))
    except Exception as error:  # one trial's defect must not end the other trials
        return Outcome(Status.FAILED, curves.by_name, error=f"{type(error).__name__}: {error}")
