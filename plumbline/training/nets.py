"""Nets: the multilayer perceptron that needs no tuning."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from plumbline.config.training import Training

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}
STEPS, LEAST_EPOCHS, MOST_EPOCHS = 3_000, 10, 200
LEAST_BATCH, MOST_BATCH, BATCHES_AN_EPOCH = 32, 256, 20


class MLP(nn.Module):
    """Linear layers with an activation between them: (n, inputs) to (n, outputs)."""

    def __init__(
        self, inputs: int, outputs: int, hidden: Sequence[int], activation: str, dropout: float
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, width in zip((inputs, *hidden), hidden, strict=False):
            layers += [nn.Linear(before, width), ACTIVATIONS[activation]()]
            layers += [nn.Dropout(dropout)] if dropout else []
        self.layers = nn.Sequential(*layers, nn.Linear(hidden[-1], outputs))

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(3 * torch.asinh(features / 3))


def with_budget(training: Training, rows: int) -> Training:
    """The same training with a number for a batch size and epochs that are `auto`."""
    batch, epochs = training.batch_size, training.epochs
    if batch == "auto":
        power = round(math.log2(max(1, rows) / BATCHES_AN_EPOCH))
        batch = min(max(2**power, LEAST_BATCH), MOST_BATCH)
    if epochs == "auto":
        steps = 1 if batch is None else math.ceil(rows / batch)
        epochs = min(max(math.ceil(STEPS / steps), LEAST_EPOCHS), MOST_EPOCHS)
    return training.model_copy(update={"batch_size": batch, "epochs": epochs})
