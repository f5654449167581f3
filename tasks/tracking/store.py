"""MLflow's store: opening it, showing it, and the messages if it is away, broken or was moved.

MLflow's client tries a request to a server again and again for about four minutes
(MLFLOW_HTTP_REQUEST_MAX_RETRIES and its neighbours say how long), so a shorter absence costs time
and nothing else. Trying again is safe: a metric that is sent twice is stored once.
"""

import logging
import os
import re
import sqlite3
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from tasks.databases import meaning, sqlite_path
from tasks.lease import exclusive

Found = TypeVar("Found")
ROOT = Path(__file__).resolve().parents[2]
ERRORS = (MlflowException, RequestException, SQLAlchemyError, sqlite3.Error)
FAILURES = (*ERRORS, OSError)  # what a call may raise if the store fails
LOCK_SECONDS = 20  # how long MLflow waits for another process's transaction
SEARCH = "/api/2.0/mlflow/experiments/search"
UI_ARTIFACTS = "mlflow-artifacts:/"  # of experiments that are made in the user interface
DATABASE, ARTIFACTS = "mlflow.db", "mlruns"  # this checkout's own store
LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)


class StoreError(OSError):
    """The store did not take what it was to record."""


def check_store() -> None:
    """Look whether the store can be used: a server answers within a minute, a database is whole.

    Raises:
        StoreError: the server does not answer, or refuses the login; the database is damaged.
    """
    store = server()
    if not store:
        _check_database()
        return
    try:
        answer = http_request(
            get_default_host_creds(store), SEARCH, "GET", params={"max_results": 1},
            max_retries=2, backoff_factor=1, timeout=60,
        )  # fmt: skip
    except MlflowException:
        raise StoreError(
            f"the MLflow server at {store} does not answer. Start it, or unset "
            "MLFLOW_TRACKING_URI to record in this folder."
        ) from None
    if answer.status_code in (401, 403):
        raise StoreError(
            f"the MLflow server at {store} refuses the login. Set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD."
        )


def open_store() -> MlflowClient:
    """A client of the store, whose tables exist from here on."""
    silence_libraries()
    path = database()
    with exclusive("mlflow", of_store=True):  # two processes that make the tables would collide
        if path and not path.exists():
            _make_tables(path)
        client = MlflowClient()
        client.search_experiments(max_results=1)
        relocate()
        if path:  # the UI may read while a run writes
            with _opened(path) as opened:
                opened.execute("PRAGMA journal_mode=WAL")
    return client


def _make_tables(path: Path) -> None:
    """MLflow makes a hundred tables, each for good: with some of them it makes no others, so that a
    process that is killed meanwhile would leave a database that nobody can use."""
    half = path.with_name(f"{path.name}.half")
    half.unlink(missing_ok=True)
    MlflowClient(f"sqlite:///{half}").search_experiments(max_results=1)
    half.replace(path)


@cache
def mlflow_app() -> Any:
    """MLflow's ASGI application on the store that MLFLOW_TRACKING_URI names, as `mlflow ui` has it.

    `mlflow ui` starts it in a process of its own, where nothing can be put around it. What it hands
    to that process in the environment is set here.
    """
    store = os.environ["MLFLOW_TRACKING_URI"]
    os.environ |= {
        "_MLFLOW_SERVER_FILE_STORE": store,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": UI_ARTIFACTS,
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": "./mlartifacts",
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    with warnings.catch_warnings(action="ignore"):  # what MLflow itself imports is deprecated
        from mlflow.server.fastapi_app import app
    from mlflow.server.handlers import initialize_backend_stores

    initialize_backend_stores(store, store, UI_ARTIFACTS)
    return app


def silence_libraries() -> None:
    """Keep the libraries' progress, migration notes and their tracebacks off the screen."""
    for name in ("alembic", "mlflow", "sqlalchemy", "torch.export"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # errors are raised, too


def if_there(read: Callable[..., Found], *arguments: str) -> Found | None:
    """What a call of MLflow's client finds; None if the store answers that it does not exist."""
    try:
        return read(*arguments)
    except MlflowException as error:
        if is_absent(error):
            return None
        raise


def is_absent(error: MlflowException) -> bool:
    """Whether the store reported that the entity does not exist, rather than just failing."""
    return error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


def _check_database() -> None:
    """Read a page: MLflow itself waits five seconds only for whoever holds a database it opens."""
    path = database()
    if path and path.exists():
        with as_store_error():
            with _opened(path) as opened:
                opened.execute("SELECT name FROM sqlite_master").fetchall()
            relocate()


def _opened(path: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(path, timeout=LOCK_SECONDS))


@contextmanager
def still_there() -> Iterator[None]:
    """See after the body whether the store's database is still the file that it was before.

    Raises:
        StoreError: it was deleted or replaced; what was recorded meanwhile is gone with it.
    """
    path = database()
    before = path and path.exists() and path.stat()
    yield
    if before and not (path.exists() and os.path.samestat(before, path.stat())):
        raise StoreError(
            f"{path} was deleted or replaced while the run was under way, and what was recorded "
            "is gone with it. Run the same command again."
        )


@contextmanager
def as_store_error(then: str = "") -> Iterator[None]:
    """Turn what MLflow raises in the body into a StoreError of one line; then: the next step."""
    try:
        yield
    except ERRORS as error:
        raise StoreError(f"{as_line(error)} {then}".strip()) from error


def as_line(error: Exception) -> str:
    """What happened, in one line; MLflow names a request that was never answered by its address."""
    first = str(error).strip().splitlines()[0][:300].rstrip(".")
    if server() and first.startswith("API request to"):
        return f"the MLflow server at {server()} does not answer any more."
    holds = "It holds the record of all runs; their models stay in mlruns."
    path = database()
    found = path and meaning(_naming_newer_schema(str(error)), path, "MLflow", holds)
    return found or f"MLflow's store failed: {first}."


def _naming_newer_schema(message: str) -> str:
    """The message, which calls a newer schema out of date as well: one that MLflow has no migration
    to is newer."""
    found = re.search(r"found version (\w+), but expected", message)
    migrations = Path(mlflow.__file__).parent / "store/db_migrations/versions"
    newer = found and not [*migrations.glob(f"{found.group(1)}_*")]
    return f"newer schema {found.group(1)}" if newer else message


def database() -> Path | None:
    """The store's SQLite file; None if it is something else."""
    return sqlite_path(os.environ.get("MLFLOW_TRACKING_URI", ""))


def disable_retries() -> None:
    """Try each request once from here on: the store stayed away, and this process is to end."""
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"


def server() -> str:
    """The tracking server's address; empty where the store is a database or a folder."""
    store = os.environ.get("MLFLOW_TRACKING_URI", "")
    return store.rstrip("/") if store.startswith("http") else ""


def relocate(root: Path = ROOT) -> None:
    """Let the locations of `root`/mlflow.db lead to `root`/mlruns again, in one transaction.

    MLflow writes absolute paths into its database. After a move they lead nowhere; after a copy
    they lead into the original, which the copy would read and write. Only what MLflow chose itself
    is rewritten, PATH/mlruns/EXPERIMENT and what is below it, and only if it is not the only place
    where such artifacts are (they may have been logged from another working directory). Safe to
    repeat, and to run in several processes at once.
    """
    path = root / DATABASE
    if database() != path or not path.exists():
        return
    with _opened(path) as opened, opened:
        for old, new in list(_moved(opened, root)):
            for table, column in LOCATIONS:
                opened.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
                )


def _moved(opened: sqlite3.Connection, root: Path) -> Iterator[tuple[str, str]]:
    """(old, new) location of every experiment that is elsewhere."""
    if not opened.execute("SELECT 1 FROM sqlite_master WHERE name = 'experiments'").fetchall():
        return
    found = opened.execute("SELECT experiment_id, artifact_location FROM experiments")
    for number, location in found.fetchall():
        old, new = Path(location or ""), root / ARTIFACTS / str(number)
        if old.is_absolute() and old.parts[-2:] == new.parts[-2:] and old != new:
            original = (old.parents[1] / DATABASE).exists()
            if original or new.exists() or not old.exists():
                yield location, str(new)
