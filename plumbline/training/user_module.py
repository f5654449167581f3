"""The user's own module, from a Python file."""

from torch import nn

from plumbline.config.model import Python


def build_user_module(model: Python, inputs: int, outputs: int) -> nn.Module:
    """Call build of the configured file."""
    raise NotImplementedError
