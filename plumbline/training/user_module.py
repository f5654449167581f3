"""A module from the user's Python file: loading and building it, with errors by file and line."""

import inspect
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy
from functools import partial
from hashlib import sha256
from itertools import chain
from pathlib import Path
from types import ModuleType

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from plumbline.config.training import Python
from plumbline.errors import InputError, listed, nearest

SIGNATURE = "build(inputs, outputs, **options)"
MOST_CHARACTERS = 200  # of an error's first line
_loading = threading.RLock()


def load_user_file(model: Python) -> ModuleType:
    """Run the configured Python file, once for each content that it has had in this process.

    It is registered in sys.modules under a name made from its content's digest, so that a module
    of it can be pickled from one process that has loaded it to another.

    Raises:
        InputError: it cannot be read, or raises.
    """
    path = model.file
    try:
        content = model.content
    except OSError as error:
        raise InputError(
            f"model.file must be a Python file, relative to the working directory ({Path.cwd()}). "
            f"Got '{path}' instead ({(error.strerror or str(error)).lower()})."
        ) from None
    name = f"user_module_{sha256(content).hexdigest()[:24]}"
    with _loading:
        if name not in sys.modules:
            _run(name, path, content)
    return sys.modules[name]


def _run(name: str, path: str, content: bytes) -> None:
    file = sys.modules[name] = ModuleType(name)
    file.__file__ = path
    try:
        with blaming(file, "the file cannot be loaded"):
            exec(compile(content, path, "exec", dont_inherit=True), vars(file))
    except BaseException:
        del sys.modules[name]
        raise


def build_user_module(model: Python, inputs: int, outputs: int) -> nn.Module:
    """Call build of the configured file; lazy layers get their widths from two rows of zeros.

    Args:
        model: the configuration's section.
        inputs: the number of features.
        outputs: the number of columns to predict.

    Raises:
        InputError: the file, build or what it returns is wrong.
    """
    build, file = build_function(model), load_user_file(model)
    with blaming(file, f"build({inputs}, {outputs}) failed"):
        module = build(inputs, outputs, **deepcopy(model.options))
    place = place_of(file, build)
    if not isinstance(module, nn.Module):
        returned = f"the class {module.__name__}" if isinstance(module, type) else kind_of(module)
        raise InputError(f"{place}: build must return an nn.Module. Got {returned} instead.")
    if any(map(is_lazy, module.parameters())):
        like = next(module.parameters()).dtype
        with blaming(file, f"the module failed on {inputs} features"), torch.no_grad():
            module.eval()(torch.zeros(2, inputs, dtype=like))
    if not any(each.requires_grad for each in module.parameters()):
        raise InputError(
            f"{place}: the module must have parameters to train. Got none; are its layers "
            "attributes of it, lists of them nn.ModuleList, and none frozen?"
        )
    numbers = chain(module.named_parameters(), module.named_buffers())
    if wrong := next((name for name, each in numbers if each.is_complex()), ""):
        raise InputError(
            f"{place}: the module's parameters and buffers must be real, as training.dtype is. "
            f"Got complex numbers in {wrong}; keep a real tensor (..., 2) and use "
            "torch.view_as_complex in forward."
        )
    return module.train()


def build_function(model: Python) -> Callable[..., object]:
    """The file's build, which takes the configured options.

    Raises:
        InputError: the file is wrong, has no build, or build takes other options.
    """
    file = load_user_file(model)
    build = getattr(file, "build", None)
    if not callable(build):
        near = nearest("build", (name for name, each in vars(file).items() if callable(each)))
        hint = f" Did you mean '{near}'?" if near else ""
        raise InputError(f"{model.file} must define {SIGNATURE}, which returns a module.{hint}")
    signature, place = inspect.signature(build), place_of(file, build)
    parameters = signature.parameters.values()
    if not any(each.kind is each.VAR_KEYWORD for each in parameters):
        options = [each.name for each in parameters if each.kind is not each.VAR_POSITIONAL][2:]
        for name in model.options:
            if name not in options:
                near = nearest(name, options)
                raise InputError(
                    f"model.options.{name} is no option of build ({place}). "
                    + (f"Did you mean '{near}'?" if near else f"It takes {listed(options)}.")
                )
    try:
        signature.bind(0, 0, **model.options)
    except TypeError as error:
        raise InputError(
            f"{place}: build{signature} must take inputs, outputs and what model.options gives "
            f"({listed(model.options)}): {error}."
        ) from None
    return build


@contextmanager
def blaming(file: ModuleType, symptom: str, hint: str = "") -> Iterator[None]:
    """Turn what the user's code raises into one line with its place."""
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        said = next((line for line in str(error).splitlines() if line.strip()), "no message")
        said = error.msg if isinstance(error, SyntaxError) else said.strip().rstrip(".")
        said = said if len(said) <= MOST_CHARACTERS else f"{said[:MOST_CHARACTERS]}..."
        hint += _hint_of_import(file, error)
        raise InputError(
            f"{_place_of_error(file, error)}: {symptom} ({type(error).__name__}: {said}).{hint}"
        ) from None


def _hint_of_import(file: ModuleType, error: BaseException) -> str:
    """How to import a file beside the user's, which Python does not find by its bare name."""
    if not isinstance(error, ImportError):
        return ""
    relative = "relative import" in str(error)
    beside = Path(str(file.__file__)).with_name(f"{'NAME' if relative else error.name}.py")
    if beside.is_absolute() or not (relative or beside.exists()):
        return ""
    name = ".".join(beside.with_suffix("").parts)
    return f" Imports start at the working directory ({Path.cwd()}): from {name} import ..."


def blamed(model: Python) -> Callable[[], AbstractContextManager[object]]:
    """A context for every call of the user's module, which blames its file for what it raises."""
    return partial(blaming, load_user_file(model), "the module failed in training")


def _place_of_error(file: ModuleType, error: BaseException) -> str:
    """The innermost line of the file that an error came through; else that of build."""
    if isinstance(error, SyntaxError) and error.filename == file.__file__:
        return f"{file.__file__}, line {error.lineno}"
    steps = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in steps if frame.f_code.co_filename == file.__file__]
    if lines:
        return f"{file.__file__}, line {lines[-1]}"
    return place_of(file, getattr(file, "build", None))


def place_of(file: ModuleType, *functions: Callable[..., object] | None) -> str:
    """File and line of the first of these functions that is defined in the file; else the file."""
    for function in functions:
        code = getattr(inspect.unwrap(function), "__code__", None) if function else None
        if code and code.co_filename == file.__file__:
            return f"{file.__file__}, line {code.co_firstlineno}"
    return str(file.__file__)


def kind_of(value: object) -> str:
    """Describe a value in a message: `None`, `a tuple of 2`, `a float`."""
    if value is None:
        return "None"
    name = type(value).__name__
    return f"a {name} of {len(value)}" if isinstance(value, tuple | list | dict) else f"a {name}"
