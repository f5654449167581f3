"""A trained module in PyTorch's pt2 format, which needs no code of its author and no pickle."""

import io
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property

import torch
from torch import Tensor, nn

_one_thread = threading.Lock()


class Exported(nn.Module):
    """A module that is kept as its pt2 file: it can be pickled, and loads without its code.

    Attributes:
        content: the file.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.content = content

    def __reduce__(self) -> tuple[object, ...]:
        return Exported, (self.content,)

    @cached_property
    def _program(self) -> nn.Module:
        """Load it when it is first called: most trials of a sweep are never called."""
        with _exporting():
            return torch.export.load(io.BytesIO(self.content)).module()

    def forward(self, features: Tensor) -> Tensor:
        return self._program(features)


def export(module: nn.Module, inputs: int) -> bytes:
    """The pt2 file of a module that takes any number of rows.

    Args:
        module: (n, inputs) to (n, 1); nn.Linear takes rows of its own precision, others float64.
        inputs: the number of features.
    """
    if isinstance(module, Exported):
        return module.content
    content, program = io.BytesIO(), program_of(module, inputs)
    with _exporting():
        torch.export.save(program, content)
    return content.getvalue()


def program_of(module: nn.Module, inputs: int) -> torch.export.ExportedProgram:
    """A module as it is stored, for any number of rows; takes what export takes.

    Raises:
        Exception: (of many kinds) it cannot be exported.
    """
    rows = torch.zeros(2, inputs, dtype=input_type(module))  # one would fix their number for good
    shapes = [{0: torch.export.Dim.DYNAMIC}]
    logging.getLogger("torch").setLevel(logging.CRITICAL)  # what goes wrong is raised, too
    # a no_grad() in forward is then no part of the program: torch cannot store it
    with _exporting(), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return torch.export.export(module, (rows,), dynamic_shapes=shapes, strict=False)
        except Exception:
            with suppress(Exception):  # slower; it also follows len(x)
                return torch.export.export(module, (rows,), dynamic_shapes=shapes, strict=True)
            raise


@contextmanager
def _exporting() -> Iterator[None]:
    """Let one thread export at a time: torch.export is not thread-safe."""
    with _one_thread:
        # All of it, before torch.export imports parts: another thread may be half-way through it.
        import torch._dynamo  # noqa: F401

        yield


def input_type(module: nn.Module) -> torch.dtype:
    """The dtype of the rows that a module to be stored takes."""
    return module.weight.dtype if isinstance(module, nn.Linear) else torch.float64
