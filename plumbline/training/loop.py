"""The training loop, and the solver that takes its place for a linear model."""

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn, optim

from plumbline.config.schema import Model, Training, without_auto
from plumbline.errors import TrainingDivergedError
from plumbline.training.checkpoint import Checkpoint, Progress
from plumbline.training.head import head_layers, solve_head
from plumbline.training.model import LinearModel, RawModel, make_optimizer
from plumbline.training.nets import AVERAGED_EPOCHS
from plumbline.training.objectives import Batch, FactorObjective, Objective, RowObjective
from plumbline.training.plan import Plan
from plumbline.training.rows import tensor_type
from plumbline.training.schedule import RateSchedule
from plumbline.training.stop_rules import Averaged, BestWeights, stop_rules
from plumbline.training.trained import Curves, OnEpoch, Status, Trained


@dataclass
class Trainer:
    """Trains a module in place until its epochs are over or a stop rule ends it.

    Attributes:
        model: the module to train.
        optimizer: of the module's parameters.
        objective: yields the batches of an epoch, and computes the loss on each.
        training: the configuration's section.
        plan: of a linear model; None: it is another one.
        averaged: the running mean of the weights, which is evaluated and kept instead of the last
            weights; None: there is none.
    """

    model: nn.Module
    optimizer: optim.Optimizer
    objective: Objective
    training: Training
    plan: Plan | None = None
    averaged: Averaged | None = None

    def __post_init__(self) -> None:
        steps = without_auto(self.training.epochs) * self.objective.steps_per_epoch
        self.schedule = RateSchedule(self.optimizer, self.training, steps)
        self.best = BestWeights(without_auto(self.training.patience) or None)
        self.rules = stop_rules(self.training, self.best, self.plan)
        self.evaluated = self.averaged.module if self.averaged else self.model
        self.parameters, self.curves = [*self.model.parameters()], Curves()

    def fit(self, on_epoch: OnEpoch, checkpoint: Checkpoint | None = None) -> Trained:
        """Train, and give the model the weights to keep: the best, the averaged or the last ones.

        If the checkpoint holds a state, training resumes there, and the epochs before it are
        reported again.

        Args:
            on_epoch: called with (epoch from 1, loss) after every epoch, and with validation_loss
                and learning_rate by name if there are such.
            checkpoint: where the state of training is kept; None: nowhere.

        Raises:
            TrainingDivergedError: a loss became infinite or NaN.
            InputError: the checkpoint is damaged.
        """
        progress, reason = Progress(self._stateful_parts(), checkpoint), None
        done = len(self.curves.by_name.get("loss", ()))
        for epoch in range(1, done + 1):
            self.curves.report(epoch, on_epoch)
        for epoch in range(done + 1, without_auto(self.training.epochs) + 1):
            self.model.train()
            for batch in self.objective.batches(self.model, epoch, progress.steps):
                progress.add(batch.share, self.step(batch))
            validation_loss = self._end_epoch(epoch, progress.end_epoch())
            self.curves.report(epoch, on_epoch)
            if reason := self._reason_to_stop(epoch, validation_loss):
                break
        self.best.restore(self.evaluated)
        if self.averaged:
            self.model.load_state_dict(self.evaluated.state_dict())
        status = Status.STOPPED if reason else Status.COMPLETED
        curves, best_epoch = self.curves.by_name, self.best.epoch or None
        return Trained(self.model, curves, status, reason or "", best_epoch)

    def step(self, batch: Batch) -> Tensor:
        """Take one step of the optimizer; returns the loss on the batch before it."""
        self.schedule.before_step()
        step: Any = self.optimizer.step  # torch has the loss as a float
        loss: Tensor = step(partial(self._forward_backward, batch))
        if self.averaged:
            self.averaged.update()
        return loss

    def _forward_backward(self, batch: Batch) -> Tensor:
        """The closure of `optimizer.step`, which L-BFGS calls several times in a step."""
        for parameter in self.parameters:  # optimizer.zero_grad() does this, more slowly
            parameter.grad = None
        total: Tensor | None = None
        for rows in batch.blocks:  # gradients add up over a batch that is larger than the memory
            loss = self.objective.loss(self.model, rows, batch.size)
            loss.backward()
            total = loss.detach() if total is None else total + loss.detach()
        if self.training.clip_norm:
            nn.utils.clip_grad_norm_(self.parameters, self.training.clip_norm)
        assert total is not None  # a batch has rows
        return total

    def _end_epoch(self, epoch: int, loss: float) -> float | None:
        """Evaluate the model, and record the epoch; returns its validation loss."""
        validation_loss = self.objective.validation_loss(self.evaluated)
        self.schedule.after_epoch(loss if validation_loss is None else validation_loss)
        for each in (loss, validation_loss):
            if each is not None and not math.isfinite(each):
                raise self.diverged(epoch, each)
        rate = self.schedule.rate if self.schedule.changes else None
        self.curves.add(loss=loss, validation_loss=validation_loss, learning_rate=rate)
        return validation_loss

    def _reason_to_stop(self, epoch: int, validation_loss: float | None) -> str | None:
        """What the first stop rule that ends training says; None if none does."""
        reasons = (rule.reason(self.evaluated, epoch, validation_loss) for rule in self.rules)
        return next(filter(None, reasons), None)

    def _stateful_parts(self) -> dict[str, object]:
        """All that a checkpoint holds, by name."""
        return {
            "model": self.model,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "curve": self.curves,
            "average": self.averaged,
            "draws": self.objective.draws,
            "objective": self.objective,
            **{type(rule).__name__: rule for rule in self.rules},
        }

    def diverged(self, epoch: int, loss: float) -> TrainingDivergedError:
        """The error for a loss that is not finite."""
        stable, rate = self.plan and self.plan.largest_stable_rate, self.optimizer.defaults["lr"]
        known = f"for sgd here is {stable:.6g}" if stable else "is not known for this optimizer"
        return TrainingDivergedError(
            f"the loss became {loss} at epoch {epoch}. The learning rate {rate:.6g} is probably "
            f"too large (the largest stable one {known}). Lower training.learning_rate"
            f"{'' if self.training.standardize else ', or set training.standardize: true'}."
        )


def train_linear(
    plan: Plan,
    training: Training,
    device: str,
    on_epoch: OnEpoch,
    objective: Objective | None = None,
    checkpoint: Checkpoint | None = None,
) -> Trained:
    """Train nn.Linear with one of torch.optim's optimizers, or solve for its optimum.

    Args:
        plan: from make_plan.
        training: the configuration's section.
        device: a device of this machine.
        on_epoch: as for `Trainer.fit`; the solver calls it once.
        objective: what an optimizer minimises; default: the mean squared error, on the R factor.
        checkpoint: as for `Trainer.fit`.

    Raises:
        TrainingDivergedError: the loss became infinite or NaN.
    """
    if training.optimizer == "exact":
        return solve_exactly(plan, on_epoch)
    model = plan.initial_model(training, device)
    optimizer = make_optimizer(model, training, plan.rate)
    objective = objective or FactorObjective.of(plan.problem, training.dtype, device)
    trainer = Trainer(model, optimizer, objective, training, plan)
    trained = trainer.fit(on_epoch, checkpoint)
    bias = model.bias if model.bias is not None else torch.zeros(1)
    intercept, weights = plan.standardizer.raw(bias, model.weight)
    if not (math.isfinite(intercept) and weights.isfinite().all()):
        raise trainer.diverged(len(trained.losses), math.inf)
    return replace(trained, module=LinearModel(intercept, weights), exact=plan)


def train_net(
    net: nn.Module,
    model: Model,
    objective: RowObjective,
    on_epoch: OnEpoch,
    checkpoint: Checkpoint | None = None,
) -> Trained:
    """Train any module on the rows; the returned module takes raw features.

    Args:
        net: standardised features, (n, d), to (n, 1), or the logits of K classes, (n, K).
        model: the configuration's section that describes it.
        objective: the loss on the rows.
        on_epoch, checkpoint: as for `Trainer.fit`.

    Raises:
        TrainingDivergedError: the loss became infinite or NaN.
        InputError: `model.exact_head` is set, and the net does not end with an nn.Linear.
    """
    training = objective.training
    net = net.to(objective.device, tensor_type(training))
    heads = []
    if model.kind != "linear" and model.exact_head:
        features = next(objective.rows.blocks("train"))[0][:2]
        heads = head_layers(net, features.to(objective.device))
    # a plain loop with a user's module has torch's own kernels: the last bits stay comparable
    rate, plain = without_auto(training.learning_rate), model.kind == "python"
    optimizer = make_optimizer(net, training, rate, plain)
    window = AVERAGED_EPOCHS * objective.steps_per_epoch
    averaged = Averaged(net, window) if model.kind == "mlp" else None
    trainer = Trainer(net, optimizer, objective, training, averaged=averaged)
    trained = trainer.fit(on_epoch, checkpoint)
    head_kept = solve_head(net, heads, objective) if heads else None
    standardizer, log_link = objective.rows.standardizer, training.loss == "poisson"
    module = RawModel(net.cpu().eval(), standardizer, objective.limits, log_link)
    return replace(trained, module=module, head_kept=head_kept)


def solve_exactly(plan: Plan, on_epoch: OnEpoch) -> Trained:
    """Return the exact fit, with the penalty if there is one, in raw units and float64.

    It counts as one epoch, whose loss is the mean squared error.
    """
    best = plan.penalized or plan.optimum
    on_epoch(1, best.mse)
    module = LinearModel(best.intercept, best.weights)
    return Trained(module, {"loss": [best.mse]}, exact=plan)
