"""A module of your own: what configs/python.yaml trains. The loop, the record and the rest stay."""

import torch
from torch import Tensor, nn


class Net(nn.Module):
    """A line, and what two hidden layers add to it."""

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
    """The module, not yet trained; model.options of the configuration are the other arguments."""
    net = Net(inputs, outputs, width, dropout)
    torch.nn.init.zeros_(net.rest[-1].weight)  # begin as a line
    return net
