"""What all commands share: environment, arguments, exit statuses and one-line error messages.

The settings below keep records in the project's folder and Prefect and MLflow local and quiet. They
are defaults: a variable that is set in the environment wins.
"""

import argparse
import logging
import os
import re
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing import util
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit

from plumbline.errors import AllTrialsFailedError, InputError, TrainingDivergedError
from tasks.databases import FULL

ROOT = Path(__file__).resolve().parents[2]
PREFECT_HOME = ROOT / ".prefect"
SERVER_LOGIN = "PREFECT_SERVER_API_AUTH_STRING"  # the login of our own Prefect servers, if set

DEFAULTS = {
    "PREFECT_HOME": str(PREFECT_HOME),
    # Prefect: logs go to its server, not to the screen; tasks are cached only on request
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    # of tasks only errors: that a task finished is its state, and logging it costs as much
    "PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL": "WARNING",
    "PREFECT_TASKS_DEFAULT_NO_CACHE": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "true",
    # plan the runs of a new or resumed schedule within seconds instead of a minute
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
    # MLflow: the store that a bare `mlflow ui` in this folder shows
    "MLFLOW_TRACKING_URI": f"sqlite:///{ROOT / 'mlflow.db'}",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # models come through the server: only it has the bucket's keys, and trying costs a request
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
    # checkpoints of interrupted runs
    "PLUMBLINE_HOME": str(ROOT / ".plumbline"),
    # each of these starts a subprocess to find out what requirements.lock says already
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
    # a model file must not be able to run code
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MPLBACKEND": "agg",
    # an interrupted sweep exits without deleting its semaphores; Python does it then, and warns
    "PYTHONWARNINGS": "ignore:resource_tracker:UserWarning",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # or Ray warns about GPUs
    "RAY_task_oom_retries": "3",  # Ray would retry forever after running out of memory
}
FULL_BYTES = 1 << 18  # with less free space than this, not even a log can be written
DONE, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130
Argument = tuple[tuple[str, ...], dict[str, Any]]


def prepare_environment() -> None:
    """Set the defaults. Call it before prefect or mlflow is imported.

    Raises:
        InputError: the project's folder has a name that addresses of databases cannot hold.
    """
    if any(character in str(ROOT) for character in "%?"):
        raise InputError(
            f"the project's folder is {ROOT}, and SQLite addresses cannot hold its % or ?. Move it "
            "to a folder without them."
        )
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    _move_logins_to_environment()
    if "PREFECT_API_URL" not in os.environ and (login := os.environ.get(SERVER_LOGIN)):
        os.environ["PREFECT_API_AUTH_STRING"] = login  # the server will be our own
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)


def prepare_store() -> None:
    """Prepare the environment, and check that MLflow's store can be used."""
    prepare_environment()
    from tasks.tracking.store import check_store

    check_store()


def _move_logins_to_environment() -> None:
    """Move logins from the servers' addresses to the variables in which clients look for them,
    because addresses are printed, logged and recorded."""
    address, user, password = without_login(os.environ["MLFLOW_TRACKING_URI"])
    if user and address.startswith("http"):
        os.environ["MLFLOW_TRACKING_URI"] = address
        os.environ["MLFLOW_TRACKING_USERNAME"] = user
        os.environ["MLFLOW_TRACKING_PASSWORD"] = password
    address, user, password = without_login(os.environ.get("PREFECT_API_URL", ""))
    if user:
        os.environ["PREFECT_API_URL"] = address
        os.environ["PREFECT_API_AUTH_STRING"] = f"{user}:{password}"


def without_login(uri: str) -> tuple[str, str, str]:
    """A URI without its login, then user and password; both empty if it has none.

    Example:
        >>> without_login("https://ann:open%20up@host:5000/api")
        ('https://host:5000/api', 'ann', 'open up')
    """
    parts = urlsplit(uri)
    _, at, host = parts.netloc.rpartition("@")
    if not at:
        return uri, "", ""
    plain = parts._replace(netloc=host).geturl()
    return plain, unquote(parts.username), unquote(parts.password or "")


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
    """Run a function as this process's command, with the arguments of the command line.

    Everything is sent and written when the function returns, so the process exits at once: the
    regular shutdown of an interpreter that holds torch, mlflow and prefect takes seconds.

    Args:
        function: its docstring's first line describes the command in --help.
        arguments: one for each of its parameters.
        keys: the keys of the command's file, for --help.
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
    if "multiprocessing.forkserver" in sys.modules:  # its folder, with a sweep's socket
        shutil.rmtree(util.get_temp_dir(), ignore_errors=True)
    os._exit(status)


def run_command(function: Callable[..., Any], *arguments: Any, **options: Any) -> int:
    """Run a command's function and return its exit status.

    Returns:
        0 done; 2 the configuration or the data is wrong; 1 it failed; 130 interrupted. Errors are
        one line on standard error; an unexpected exception is printed with its traceback.
    """
    logging.raiseExceptions = False  # no traceback on the screen if a log cannot be sent
    for number in (signal.SIGINT, signal.SIGTERM):  # also if the starter ignored them
        signal.signal(number, signal.default_int_handler)
    try:
        function(*arguments, **options)
        return DONE
    except InputError as error:
        return _say(str(error), WRONG_INPUT)
    except (TrainingDivergedError, AllTrialsFailedError, OSError) as error:
        return _say(f"Failed: {_disk_full(error) or error}", FAILED)
    except Exception as error:
        if said := _disk_full(error) or _store_failed(error) or _prefect_failed(error):
            return _say(f"Failed: {said}", FAILED)
        traceback.print_exc()
        return _say(f"Failed: {type(error).__name__}: {error}", FAILED)
    except SystemExit:
        raise
    except BaseException:  # KeyboardInterrupt, or Prefect's own exception for SIGTERM
        return _say("Interrupted.", INTERRUPTED)


def _disk_full(error: Exception) -> str:
    """One line if a full disk caused an error, directly or indirectly; otherwise empty."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    said = "\n".join(map(str, chain))
    if not re.search(FULL, said) and shutil.disk_usage(ROOT).free > FULL_BYTES:
        return ""
    return "the disk is full (df -h). Free some space, then run the same command again."


def _store_failed(error: Exception) -> str:
    """One line about an error of MLflow or its database; empty for any other error."""
    if type(error).__module__.partition(".")[0] not in ("mlflow", "sqlalchemy", "sqlite3"):
        return ""
    from tasks.tracking.store import as_line

    return as_line(error)


def _prefect_failed(error: Exception) -> str:
    """One line about a server that is gone, or a flow run that was deleted or has wrong parameters;
    otherwise empty."""
    if isinstance(error, getattr(sys.modules.get("httpx"), "TransportError", ())):
        named = os.environ.get("PREFECT_API_URL")  # our own server's address is gone by now
        server, when = (f"at {named}", " once it answers") if named else ("of this command", "")
        said = f"{type(error).__name__}: {error}".rstrip(": ")
        return (
            f"the Prefect server {server} no longer answers ({said}). Run the same command again"
            f"{when}."
        )
    if type(error).__module__ != "prefect.exceptions":
        return ""
    known = {
        "ObjectNotFound": "the flow run was deleted in Prefect while it was in progress.",
        "ParameterTypeError": " ".join(str(error).split()),
    }
    return known.get(type(error).__name__, "")


def may_pass(error: BaseException | None) -> bool:
    """Whether an error was caused by a server, network, disk or database and may be temporary."""
    from httpx import HTTPError

    from tasks.tracking.store import FAILURES

    while error and not isinstance(error, (HTTPError, *FAILURES)):
        error = error.__cause__
    return error is not None


def _say(message: str, status: int) -> int:
    sys.stdout.flush()
    print(message, file=sys.stderr, flush=True)
    return status
