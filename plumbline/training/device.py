"""The device that training runs on, and the random numbers that it draws there."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from plumbline.config.schema import Config
from plumbline.errors import InputError

_drawing = threading.Lock()


def present_devices() -> list[str]:
    """Every device of this machine by the name that training.device takes."""
    names = ["cpu"]
    for kind in ("cuda", "xpu"):
        module = getattr(torch, kind)
        if module.is_available():
            names += [f"{kind}:{i}" for i in range(module.device_count())]
    return names + (["mps"] if torch.backends.mps.is_available() else [])


def device_of(config: Config) -> str:
    """The device of an experiment; on a Ray cluster the CPU, whatever this machine has.

    Raises:
        InputError: this machine lacks the device, or the device lacks the dtype.
    """
    wanted = "cpu" if config.runner == "ray" else config.training.device
    return resolve_device(wanted, config.training.dtype)


def resolve_device(wanted: str, dtype: str) -> str:
    """The device that a configuration means.

    Args:
        wanted: auto | cpu | cuda | cuda:N | mps | xpu. "auto" takes the machine's accelerator if it
            has one that supports the dtype (mps has no float64), else the CPU.
        dtype: float32 | float64.

    Raises:
        InputError: this machine lacks the device, or the device lacks the dtype.
    """
    present = present_devices()
    if wanted == "auto":
        usable = [name for name in present[1:] if not _lacks(name, dtype)]
        return usable[0] if usable else "cpu"
    named = f"{wanted}:0" if wanted in ("cuda", "xpu") else wanted
    if named not in present:
        raise InputError(
            f"training.device must be a device of this machine (auto, "
            f"{', '.join(present)}). Got '{wanted}' instead."
        )
    if _lacks(named, dtype):
        raise InputError(
            f"training.dtype must be float32 on {named}, which has no float64. "
            f"Got '{dtype}' instead."
        )
    return named


def _lacks(name: str, dtype: str) -> bool:
    return name == "mps" and dtype == "float64"


class Draws:
    """The random state of a script that calls torch.manual_seed and then trains alone.

    torch has one generator per device for all threads. Each training has a state of its own:
    entering sets it, leaving saves it and restores the state from before. So trainings in several
    threads do not change each other's draws, nor those of a notebook.

    Attributes:
        device: if it is cuda or xpu, its generator is used as well as the CPU's.
    """

    def __init__(self, seed: int, device: str) -> None:
        self.device = torch.device(device)
        self._seed = seed
        self._states: list[torch.Tensor] | None = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Let torch draw inside as if this training had drawn all the numbers so far."""
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
