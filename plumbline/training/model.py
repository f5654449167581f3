"""The models: the one that an optimizer trains, and the one in raw units that comes of it."""

import threading

import torch
from torch import Tensor, nn, optim

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


class LinearModel(nn.Module):
    """y = intercept + x · weights in raw units: (n, d) float64 to (n, 1).

    Attributes:
        intercept: in units of y; 0 if the model has none.
        weights: (d,) float64.
    """

    weights: Tensor

    def __init__(self, intercept: float, weights: Tensor) -> None:
        super().__init__()
        self.intercept = intercept
        self.register_buffer("weights", weights)

    def forward(self, features: Tensor) -> Tensor:
        return (self.intercept + features @ self.weights)[..., None]

    def layer(self, training: Training) -> nn.Linear:
        """The same model as torch's own layer in the configured precision: what is stored."""
        dtype = getattr(torch, training.dtype)
        layer = nn.Linear(len(self.weights), 1, bias=training.bias, dtype=dtype, device="meta")
        layer = layer.to_empty(device="cpu")  # so that nothing is drawn from torch's generator
        with torch.no_grad():
            layer.weight.copy_(self.weights[None])
            if layer.bias is not None:
                layer.bias.fill_(self.intercept)
        return layer.eval()


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


def parameters(model: nn.Linear) -> Tensor:
    """Bias (if there is one) and weights as one vector: (p,)."""
    weight = model.weight[0]
    return weight if model.bias is None else torch.cat([model.bias, weight])
