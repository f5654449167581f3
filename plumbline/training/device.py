"""Where training runs."""

import torch

from plumbline.config.schema import Config
from plumbline.errors import InputError


def present_devices() -> list[str]:
    """Every device of this machine by the name that training.device takes."""
    names = ["cpu"]
    for kind in ("cuda", "xpu"):
        module = getattr(torch, kind)
        names += (
            [f"{kind}:{i}" for i in range(module.device_count())] if module.is_available() else []
        )
    return names + (["mps"] if torch.backends.mps.is_available() else [])


def device_of(config: Config) -> str:
    """Where an experiment computes: on a Ray cluster on the CPUs, whatever this machine has.

    Raises:
        InputError: the device is not here, or does not know the dtype.
    """
    wanted = "cpu" if config.runner == "ray" else config.training.device
    return resolve_device(wanted, config.training.dtype)


def resolve_device(wanted: str, dtype: str) -> str:
    """The device that a configuration means.

    Args:
        wanted: auto | cpu | cuda | cuda:N | mps | xpu. "auto" takes the machine's accelerator where
            there is one that knows the dtype (mps has no float64), else the CPU.
        dtype: float32 | float64.

    Raises:
        InputError: the device is not here, or does not know the dtype.
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
