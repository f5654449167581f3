"""Train models that a YAML file describes; docs/python.md shows how from Python.

The names are imported from plumbline.library on first use, so that reading a configuration does not
import torch.
"""

from importlib import import_module
from typing import Any

__all__ = ["Model", "evaluate", "load_config", "predict", "predict_proba", "train"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'plumbline' has no attribute '{name}'")
    return getattr(import_module("plumbline.library"), name)
