"""Where things are kept, and the settings that make Prefect and MLflow quiet and local.

Everything here is a default: what is set in the environment wins.
"""

import os
from pathlib import Path

from plumbline.config.uris import without_login
from plumbline.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
PREFECT_HOME = ROOT / ".prefect"
SERVER_LOGIN = "PREFECT_SERVER_API_AUTH_STRING"  # what a Prefect server of ours asks for, if set

DEFAULTS = {
    "PREFECT_HOME": str(PREFECT_HOME),
    # Prefect: its log goes to its server, the screen is ours; no caching where none is asked for
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    # of tasks only what went wrong: that one finished is its state, and a line of log costs as much
    "PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL": "WARNING",
    "PREFECT_TASKS_DEFAULT_NO_CACHE": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "true",
    # a schedule that is new or resumed is planned within seconds, not a minute
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
    # MLflow: the store of a bare `mlflow ui` started here
    "MLFLOW_TRACKING_URI": f"sqlite:///{ROOT / 'mlflow.db'}",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # models come through the server: the bucket is its own, and asking costs a request a file
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
    # what was trained and could not be recorded yet
    "PLUMBLINE_HOME": str(ROOT / ".plumbline"),
    # each of these would start a subprocess to find out what is written down already
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
    # the worst that a model file may do is fail to load
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MPLBACKEND": "agg",
}


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
    _take_logins_out()
    if "PREFECT_API_URL" not in os.environ and (login := os.environ.get(SERVER_LOGIN)):
        os.environ["PREFECT_API_AUTH_STRING"] = login  # the server will be our own
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)


def prepare_store() -> None:
    """The same for a command that reads MLflow's store, and look whether the store can be used."""
    prepare_environment()
    from tasks.tracking.store import check_store

    check_store()


def _take_logins_out() -> None:
    """Logins in the servers' addresses go where the clients look for them, too: addresses are
    shown, logged and recorded."""
    address, user, password = without_login(os.environ["MLFLOW_TRACKING_URI"])
    if user and address.startswith("http"):
        os.environ["MLFLOW_TRACKING_URI"] = address
        os.environ["MLFLOW_TRACKING_USERNAME"] = user
        os.environ["MLFLOW_TRACKING_PASSWORD"] = password
    address, user, password = without_login(os.environ.get("PREFECT_API_URL", ""))
    if user:
        os.environ["PREFECT_API_URL"] = address
        os.environ["PREFECT_API_AUTH_STRING"] = f"{user}:{password}"
