"""The model and its optimizer, as torch knows them."""

import threading

import torch
from torch import nn, optim

from plumbline.config.training import WITH_MOMENTUM, Training

CLASSES = {
    "sgd": optim.SGD,
    "adam": optim.Adam,
    "adamw": optim.AdamW,
    "rmsprop": optim.RMSprop,
    "adagrad": optim.Adagrad,
    "adadelta": optim.Adadelta,
    "adamax": optim.Adamax,
    "nadam": optim.NAdam,
    "radam": optim.RAdam,
    "lbfgs": optim.LBFGS,
}
FUSED = ("adam", "adamw")  # in one kernel; torch has it for sgd, too, where it is no faster
_seeding = threading.Lock()


def initial_model(features: int, training: Training, device: str) -> nn.Linear:
    """nn.Linear with the initial weights of a script that calls torch.manual_seed(seed) first.

    They are drawn on the CPU whatever the device, so that devices start alike.
    """
    with _seeding:  # torch's generator is one for all threads
        torch.manual_seed(training.seed)
        dtype = getattr(torch, training.dtype)
        model = nn.Linear(features, 1, bias=training.bias, dtype=dtype)
    return model.to(device)


def raw_model(intercept: float, weights: torch.Tensor, training: Training) -> nn.Linear:
    """The trained model in raw units: y = intercept + x · weights, on the CPU."""
    dtype = getattr(torch, training.dtype)
    model = nn.Linear(len(weights), 1, bias=training.bias, dtype=dtype)
    with torch.no_grad():
        model.weight.copy_(weights[None])
        if model.bias is not None:
            model.bias.fill_(intercept)
    return model.eval()


def make_optimizer(model: nn.Linear, training: Training, rate: float) -> optim.Optimizer:
    """torch.optim's optimizer of the configured name; weight decay leaves the bias alone."""
    kind = CLASSES[training.optimizer]
    if training.optimizer == "lbfgs":
        return kind(model.parameters(), lr=rate, line_search_fn="strong_wolfe")
    decay = {"weight_decay": training.weight_decay}
    if model.bias is None or not training.weight_decay:  # one group is faster than two
        groups = [{"params": [*model.parameters()], **decay}]
    else:
        groups = [
            {"params": [model.weight], **decay},
            {"params": [model.bias], "weight_decay": 0.0},
        ]
    extra = {"momentum": training.momentum} if training.optimizer in WITH_MOMENTUM else {}
    # for two small tensors the plain loop is faster than torch's default for accelerators
    how = {"fused": True} if training.optimizer in FUSED else {"foreach": False}
    return kind(groups, lr=rate, **how, **extra)
