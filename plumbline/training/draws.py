"""What a training draws from torch's generators: initial weights, dropout."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_drawing = threading.Lock()


class Draws:
    """torch's generators as a script has them that calls torch.manual_seed and then trains alone.

    torch has one generator a device for all threads. Each training has its own place in that
    stream: entering takes it up, leaving notes how far it came and puts back what stood there. So
    trainings side by side in threads do not change each other's draws, nor those of a notebook.

    Attributes:
        device: whose generator is drawn from beside the CPU's, if it is cuda or xpu.
    """

    def __init__(self, seed: int, device: str) -> None:
        self.device = torch.device(device)
        self._seed, self._states = seed, None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Whatever torch draws inside goes on where this training's last draw ended."""
        with _drawing:
            generators = self._generators()
            before = [each.get_state() for each in generators]
            if self._states is None:
                torch.manual_seed(self._seed)
            else:
                _set(generators, self._states)
            try:
                yield
            finally:
                self._states = [each.get_state() for each in generators]
                _set(generators, before)

    def state_dict(self) -> dict[str, list[torch.Tensor] | None]:
        return {"states": self._states}

    def load_state_dict(self, state: dict[str, list[torch.Tensor] | None]) -> None:
        self._states = state["states"]

    def _generators(self) -> list[torch.Generator]:
        if self.device.type not in ("cuda", "xpu"):
            return [torch.default_generator]
        kind = getattr(torch, self.device.type)
        kind.init()
        return [torch.default_generator, kind.default_generators[self.device.index or 0]]


def _set(generators: list[torch.Generator], states: list[torch.Tensor]) -> None:
    for generator, state in zip(generators, states, strict=True):
        generator.set_state(state)
