"""What all commands share: arguments, exit statuses, signals, one line for what went wrong."""

import argparse
import logging
import os
import re
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from flows.support.environment import ROOT
from plumbline.errors import AllTrialsFailedError, InputError, TrainingDivergedError
from tasks.databases import FULL

FULL_BYTES = 1 << 18  # what a disk has left on which not even a log can be written
DONE, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130
Argument = tuple[tuple[str, ...], dict[str, Any]]


def argument(*names: str, **options: Any) -> Argument:
    """One argument of a command, given as argparse's `add_argument` takes it."""
    return names, options


CONFIG = (
    argument("path", metavar="config", help="a YAML file, such as those in configs/"),
    argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="replaces a key of the file, such as training.epochs=500",
    ),
)


def main(function: Callable[..., Any], *arguments: Argument, keys: str = "") -> NoReturn:
    """Run a function as this process's command, with what the command line says.

    The process ends at once then: everything is sent and written, and taking apart an interpreter
    that holds torch, mlflow and prefect takes seconds.

    Args:
        function: its docstring's first line describes the command in --help.
        arguments: one for each of its parameters.
        keys: what the command's file may hold, for --help.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {sys.modules['__main__'].__spec__.name}",
        description=function.__doc__.partition("\n")[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=keys and f"Keys, each with what it may hold, its default and its meaning:\n\n{keys}",
    )
    for names, options in arguments:
        parser.add_argument(*names, **options)
    status = run_command(function, **vars(parser.parse_args()))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def run_command(function: Callable[..., Any], *arguments: Any, **options: Any) -> int:
    """Run a command's function and turn how it ended into an exit status.

    Returns:
        0 done; 2 the configuration or the data is wrong; 1 it failed; 130 interrupted. What went
        wrong is one line on standard error; a defect of ours adds its traceback.
    """
    logging.raiseExceptions = False  # a line of log that cannot be sent is none on the screen
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        function(*arguments, **options)
        return DONE
    except InputError as error:
        return _say(str(error), WRONG_INPUT)
    except (TrainingDivergedError, AllTrialsFailedError, OSError) as error:
        return _say(f"Failed: {_disk_full(error) or error}", FAILED)
    except Exception as error:
        if said := _disk_full(error) or _store_failed(error):
            return _say(f"Failed: {said}", FAILED)
        traceback.print_exc()
        return _say(f"Failed: {type(error).__name__}: {error}", FAILED)
    except SystemExit:
        raise
    except BaseException:  # KeyboardInterrupt, or Prefect's own exception for SIGTERM
        return _say("Interrupted.", INTERRUPTED)


def _disk_full(error: Exception) -> str:
    """One line if a full disk is behind an error, or behind one that this followed from."""
    said, cause = "", error
    while cause:
        said, cause = f"{said}{cause}\n", cause.__cause__ or cause.__context__
    if not re.search(FULL, said) and shutil.disk_usage(ROOT).free > FULL_BYTES:
        return ""
    return "the disk is full (df -h). Free some space, then run the same command again."


def _store_failed(error: Exception) -> str:
    """One line about what MLflow or its database raised; empty for a defect of ours."""
    if type(error).__module__.partition(".")[0] not in ("mlflow", "sqlalchemy", "sqlite3"):
        return ""
    from tasks.tracking.store import as_line

    return as_line(error)


def may_pass(error: BaseException | None) -> bool:
    """Whether a server, a network, a disk or a database that fails just now is behind an error."""
    from httpx import HTTPError

    from tasks.tracking.store import FAILURES

    while error and not isinstance(error, (HTTPError, *FAILURES)):
        error = error.__cause__
    return error is not None


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(message: str, status: int) -> int:
    sys.stdout.flush()
    print(message, file=sys.stderr, flush=True)
    return status
