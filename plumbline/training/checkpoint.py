"""The state of a training on disk, from which it resumes with the same losses to the last bit."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from plumbline.errors import InputError


class Stateful(Protocol):
    """A part of a training that has a state, as torch's modules and optimizers have."""

    def state_dict(self) -> Mapping[str, Any]:
        """The tensors and plain values that the next step depends on."""

    def load_state_dict(self, state: Any) -> object:
        """Restore such a state."""


@dataclass
class Checkpoint:
    """A file that holds the state of one training.

    Attributes:
        path: of the file, which may not exist yet.
        every: seconds between two writes.
    """

    path: Path
    every: float
    _written: float = field(default_factory=time.monotonic, init=False)

    @property
    def is_due(self) -> bool:
        """Whether it is time to write the next state."""
        return time.monotonic() - self._written >= self.every

    def write(self, parts: Mapping[str, Stateful]) -> None:
        """Write the state of all parts; the file is replaced as a whole."""
        content = BytesIO()
        torch.save({name: part.state_dict() for name, part in parts.items()}, content)
        self.keep(content.getbuffer())
        self._written = time.monotonic()

    def keep(self, content: bytes | memoryview) -> None:
        """Replace the file's content by a state that was already serialised."""
        half = self.path.with_suffix(".half")
        with half.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # a machine that stops must not leave a name without content
        half.replace(self.path)

    def read(self, parts: Mapping[str, Stateful]) -> None:
        """Restore the state of all parts, if one was written.

        Raises:
            InputError: the file is damaged, or holds the state of another training.
        """
        if not self.path.exists():
            return
        try:
            states = torch.load(self.path, map_location="cpu", weights_only=True)
            for name, part in parts.items():
                part.load_state_dict(states[name])
        except Exception as error:  # torch raises what its readers meet: zip, pickle, keys, shapes
            raise InputError(
                f"{self.path}: is no checkpoint of this training ({type(error).__name__}). Start "
                "the training anew."
            ) from error


MOST_PENDING = 1_000  # losses that stay on the device, in one buffer: many small tensors, each of
# which lives longer than what its step allocates, fragment the memory


class Progress:
    """The progress of the current epoch; writes a checkpoint after a step, if one is due.

    A step's loss stays on its device, so that no step waits for it.

    Attributes:
        steps: how many steps of the epoch are done.
        loss: what they add to the epoch's loss, without the pending ones.
    """

    def __init__(self, parts: Mapping[str, Any], checkpoint: Checkpoint | None) -> None:
        """Restore the state that the checkpoint holds, if any.

        Args:
            parts: of the training, by name; those without a state_dict are ignored.
            checkpoint: None: nothing is read or written.
        """
        self.steps, self.loss, self._checkpoint = 0, 0.0, checkpoint
        self._shares: list[float] = []
        self._losses: Tensor | None = None
        stateful = {name: part for name, part in parts.items() if hasattr(part, "state_dict")}
        self._parts: dict[str, Stateful] = {**stateful, "progress": self}
        if checkpoint:
            checkpoint.read(self._parts)

    def add(self, share: float, loss: Tensor) -> None:
        """Count a step, with its share of the epoch's loss and its own mean loss."""
        self.steps += 1
        if self._losses is None:
            self._losses = loss.new_empty(MOST_PENDING)
        self._losses[len(self._shares)] = loss.detach()
        self._shares.append(share)
        due = self._checkpoint if self._checkpoint and self._checkpoint.is_due else None
        if due or len(self._shares) == MOST_PENDING:
            self._add_up()
        if due:
            due.write(self._parts)

    def end_epoch(self) -> float:
        """End the epoch; returns its loss."""
        self._add_up()
        loss, self.steps, self.loss = self.loss, 0, 0.0
        return loss

    def _add_up(self) -> None:
        if self._losses is not None:
            losses = self._losses[: len(self._shares)].tolist()
            for share, loss in zip(self._shares, losses, strict=True):
                self.loss += share * loss
            self._shares.clear()

    def state_dict(self) -> dict[str, float]:
        return {"steps": self.steps, "loss": self.loss}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self.steps, self.loss = int(state["steps"]), state["loss"]
