"""The training loop, and the closed form beside it."""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import torch
from torch import Tensor, nn

from plumbline.config.schema import Training
from plumbline.errors import TrainingDivergedError
from plumbline.training.checkpoint import Checkpoint, Progress
from plumbline.training.head import solve_head
from plumbline.training.model import LinearModel, RawModel, make_optimizer
from plumbline.training.objectives import FactorObjective, Objective, RowObjective
from plumbline.training.plan import Plan
from plumbline.training.rows import tensor_type
from plumbline.training.schedule import RateSchedule
from plumbline.training.stop_rules import Averaged, BestWeights, StopRule, Tolerance, stop_rules
from plumbline.training.trained import Curve, OnEpoch, Status, Trained


def train(
    plan: Plan,
    training: Training,
    device: str,
    on_epoch: OnEpoch,
    objective: Objective | None = None,
    checkpoint: Checkpoint | None = None,
) -> Trained:
    """Train nn.Linear with one of torch.optim's optimizers, or call a solver beside the loop.

    Args:
        plan: from make_plan.
        training: the configuration's section.
        device: a device of this machine.
        on_epoch: called with (epoch from 1, the loss before its step) after every step; by the
            closed form once, with the optimum's loss.
        objective: what an optimizer minimises; default: the mean squared error, on the R factor.
        checkpoint: as that of `fit`.

    Raises:
        TrainingDivergedError: the loss became infinite or NaN.
    """
    if training.optimizer == "exact":
        return solve_exactly(plan, on_epoch)
    model = plan.initial_model(training, device)
    objective = objective or FactorObjective.of(plan.problem, training.dtype, device)
    rules = [Tolerance(plan, training.tolerance)] if training.tolerance else []
    stable = plan.largest_stable_rate
    curve = fit(
        model, training, plan.rate, objective, on_epoch, rules, stable, checkpoint=checkpoint
    )
    bias = model.bias if model.bias is not None else torch.zeros(1)
    intercept, weights = plan.standardizer.raw(bias, model.weight)
    if not (math.isfinite(intercept) and weights.isfinite().all()):
        raise _diverged(len(curve.losses), math.inf, plan.rate, stable)
    return Trained(**vars(curve), module=LinearModel(intercept, weights), exact=plan)


def train_net(
    net: nn.Module,
    training: Training,
    device: str,
    on_epoch: OnEpoch,
    objective: RowObjective,
    averaged_epochs: int = 0,
    fast: bool = True,
    heads: Sequence[nn.Module] = (),
    checkpoint: Checkpoint | None = None,
) -> Trained:
    """Train any module on the rows; the result takes raw features.

    Args:
        net: standardised features, (n, d), to (n, 1).
        training: the configuration's section.
        device: a device of this machine.
        on_epoch: called with (epoch from 1, its mean loss) after every epoch, and with
            validation_loss and learning_rate where there are such.
        objective: the loss on the rows, and the limits of predictions if there are any.
        averaged_epochs: keep the mean of the weights over about this many last epochs; 0: the last.
        fast: whether the optimizer may round otherwise than in a plain loop.
        heads: the layers to solve exactly after that, if any.
        checkpoint: as that of `fit`.

    Raises:
        TrainingDivergedError: the loss became infinite or NaN.
    """
    net = net.to(device, tensor_type(training))
    rate, stable = training.learning_rate, None
    curve = fit(
        net, training, rate, objective, on_epoch, [], stable, averaged_epochs, fast, checkpoint
    )
    head_kept = solve_head(net, heads, objective) if heads else None
    log_link = training.loss == "poisson"
    standardizer, limits = objective.rows.standardizer, objective.limits
    module = RawModel(net.cpu().eval(), standardizer, limits, log_link)
    return Trained(**vars(curve), module=module, head_kept=head_kept)


def fit(
    model: nn.Module,
    training: Training,
    rate: float,
    objective: Objective,
    on_epoch: OnEpoch,
    rules: Sequence[StopRule],
    largest_stable_rate: float | None = None,
    averaged_epochs: int = 0,
    fast: bool = True,
    checkpoint: Checkpoint | None = None,
) -> Curve:
    """Train a module in place, with the configured optimizer, schedule and stop rules.

    With `averaged_epochs` what is judged and kept is the mean of its weights over about this many
    last epochs. Where a checkpoint holds a state, training goes on from there, and the epochs
    before it are reported again.

    Raises:
        TrainingDivergedError: a loss became infinite or NaN.
        InputError: the checkpoint is damaged.
    """
    optimizer = make_optimizer(model, training, rate, fast)
    steps = objective.steps_of_an_epoch()
    schedule = RateSchedule(optimizer, training, training.epochs * steps)
    best = BestWeights(training.patience or None)
    rules = [*rules, *stop_rules(training, best)]
    curve = Curve()

    def check_and_record(epoch: int, loss: float, validation_loss: float | None) -> None:
        _check_finite(epoch, (loss, validation_loss), rate, largest_stable_rate)
        curve.add(loss, validation_loss, schedule.rate if schedule.changes else None)
        curve.report(epoch, on_epoch)

    def take_step(forward_loss_backward: Callable[[], Tensor]) -> Tensor:
        schedule.before_step()
        loss = optimizer.step(_clipping(forward_loss_backward, model, training.clip_norm))
        if averaged:
            averaged.update()
        return loss

    averaged = Averaged(model, averaged_epochs * steps) if averaged_epochs else None
    judged = averaged.module if averaged else model
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule, "curve": curve}
    parts |= {"average": averaged, "draws": objective.draws}
    parts |= {type(rule).__name__: rule for rule in rules}
    progress = Progress(parts, checkpoint)
    for epoch in range(1, len(curve.losses) + 1):
        curve.report(epoch, on_epoch)
    epochs = range(len(curve.losses) + 1, training.epochs + 1)
    reason = loop(
        model, judged, objective, epochs, take_step, schedule, check_and_record, rules, progress
    )
    if reason:
        curve.status, curve.message = Status.STOPPED, reason
    curve.best_epoch = best.epoch or None
    best.restore(judged)
    if averaged:
        model.load_state_dict(judged.state_dict())
    return curve


def loop(
    model: nn.Module,
    judged: nn.Module,
    objective: Objective,
    epochs: Iterable[int],
    take_step: Callable[[Callable[[], Tensor]], Tensor],
    schedule: RateSchedule,
    on_epoch: Callable[[int, float, float | None], None],
    stop_rules: Sequence[StopRule],
    progress: Progress,
) -> str | None:
    """Run the epochs; returns why a stop rule ended them, None if none did.

    Args:
        model: what is trained.
        judged: what the validation loss and the stop rules are of: the model, or its average.
        progress: counts the steps; those of the first epoch that are done are left out.
    """
    for epoch in epochs:
        model.train()
        for share, forward_loss_backward in islice(
            objective.steps(model, epoch), progress.steps, None
        ):
            progress.add(share, take_step(forward_loss_backward))
        loss = progress.end_epoch()
        validation_loss = objective.validation_loss(judged)
        schedule.after_epoch(loss if validation_loss is None else validation_loss)
        on_epoch(epoch, loss, validation_loss)
        for rule in stop_rules:
            if reason := rule.reason(judged, epoch, loss, validation_loss):
                return reason
    return None


def _clipping(
    closure: Callable[[], Tensor], model: nn.Module, norm: float | None
) -> Callable[[], Tensor]:
    """The same closure; the gradient that it leaves is not longer than the norm."""
    if norm is None:
        return closure

    def clipped() -> Tensor:
        loss = closure()
        nn.utils.clip_grad_norm_(model.parameters(), norm)
        return loss

    return clipped


def solve_exactly(plan: Plan, on_epoch: OnEpoch) -> Trained:
    """Take the exact fit, with the penalty if there is one, in raw units and float64, as what one
    epoch trained; its loss is the mean squared error."""
    best = plan.penalized or plan.optimum
    on_epoch(1, best.mse)
    model = LinearModel(best.intercept, best.weights)
    return Trained([best.mse], module=model, exact=plan)


def _check_finite(
    epoch: int, losses: Iterable[float | None], rate: float, largest_stable_rate: float | None
) -> None:
    for loss in losses:
        if loss is not None and not math.isfinite(loss):
            raise _diverged(epoch, loss, rate, largest_stable_rate)


def _diverged(
    epoch: int, loss: float, rate: float, largest_stable_rate: float | None
) -> TrainingDivergedError:
    """The error for a loss that is not a finite number."""
    known = (
        f"the largest stable one for sgd here is {largest_stable_rate:.6g}"
        if largest_stable_rate
        else "the largest stable one is not known for this optimizer"
    )
    return TrainingDivergedError(
        f"the loss became {loss} at epoch {epoch}. The learning rate {rate:.6g} is probably "
        f"too large ({known}). Lower training.learning_rate, or set training.standardize: true."
    )
