"""An example of your own module, which configs/python.yaml trains."""

import torch
from torch import Tensor, nn


class Net(nn.Module):
    """A linear model plus a net with two hidden layers."""

    def __init__(self, inputs: int, outputs: int, width: int, dropout: float) -> None:
        super().__init__()
        self.line = nn.Linear(inputs, outputs)
        self.rest = nn.Sequential(
            nn.Linear(inputs, width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, outputs),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(n, inputs) standardised features to (n, outputs) in the target's units."""
        return self.line(features) + self.rest(features)


def build(inputs: int, outputs: int, width: int = 64, dropout: float = 0.0) -> nn.Module:
    """Build the untrained module; width and dropout come from model.options."""
    net = Net(inputs, outputs, width, dropout)
    torch.nn.init.zeros_(net.rest[-1].weight)  # start as a linear model
    return net
