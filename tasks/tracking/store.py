"""MLflow's store: opens and checks it, serves its UI, and turns its errors into messages.

MLflow's client retries a request to a server for about four minutes, which variables such as
MLFLOW_HTTP_REQUEST_MAX_RETRIES change, so a shorter outage only costs time. Retries are safe: a
metric that is sent twice is stored once.
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
from mlflow.entities import Run
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
LOCK_SECONDS = 20  # how long to wait for another process's transaction
SEARCH = "/api/2.0/mlflow/experiments/search"
UI_ARTIFACTS = "mlflow-artifacts:/"  # of experiments that are created in the UI
DATABASE, ARTIFACTS = "mlflow.db", "mlruns"  # the default store, in the project's folder
LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)


class StoreError(OSError):
    """The store cannot be read or written."""


def check_store() -> None:
    """Check that the store can be used: a server must answer, a database must be readable.

    Raises:
        StoreError: the server does not answer or rejects the login, or the database is damaged.
    """
    silence_libraries()
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
            "MLFLOW_TRACKING_URI to record in the project's folder."
        ) from None
    if answer.status_code in (401, 403):
        raise StoreError(
            f"the MLflow server at {store} refuses the login. Set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD."
        )


def open_store() -> MlflowClient:
    """Return a client of the store, after creating the database's tables if there are none."""
    silence_libraries()
    path = database()
    with exclusive("mlflow", of_store=True):  # two processes cannot create the tables at once
        if path and not path.exists():
            _create_tables(path)
        client = MlflowClient()
        client.search_experiments(max_results=1)
        relocate()
        if path:  # lets the UI read while a run writes
            with _opened(path) as opened:
                opened.execute("PRAGMA journal_mode=WAL")
    return client


def _create_tables(path: Path) -> None:
    """Create the database under another name first. MLflow commits each of its hundred tables and
    does not add missing ones, so a process killed in between would leave an unusable database."""
    half = path.with_name(f"{path.name}.half")
    half.unlink(missing_ok=True)
    MlflowClient(f"sqlite:///{half}").search_experiments(max_results=1)
    half.replace(path)


@cache
def mlflow_app() -> Any:
    """MLflow's ASGI application for the store of MLFLOW_TRACKING_URI, as `mlflow ui` runs it.

    `mlflow ui` starts it in a separate process, where no middleware can be added. The environment
    variables that it passes to that process are set here.
    """
    store = os.environ["MLFLOW_TRACKING_URI"]
    os.environ |= {
        "_MLFLOW_SERVER_FILE_STORE": store,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": UI_ARTIFACTS,
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": "./mlartifacts",
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    with warnings.catch_warnings(action="ignore"):  # MLflow itself imports deprecated modules
        from mlflow.server.fastapi_app import app
    from mlflow.server.handlers import initialize_backend_stores

    initialize_backend_stores(store, store, UI_ARTIFACTS)
    return app


def silence_libraries() -> None:
    """Keep progress, migration notes and tracebacks of the libraries off the screen."""
    for name in ("alembic", "mlflow", "sqlalchemy", "torch.export"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # logged errors are also raised


def if_there(read: Callable[..., Found], *arguments: str) -> Found | None:
    """Call a function of MLflow's client; return None if the entity does not exist."""
    try:
        return read(*arguments)
    except MlflowException as error:
        if is_absent(error):
            return None
        raise


def runs_where(condition: str, max_results: int = 100_000) -> list[Run]:
    """The runs of all experiments that a filter string selects, newest first."""
    given = {"filter_string": condition, "max_results": max_results}
    return mlflow.search_runs(search_all_experiments=True, output_format="list", **given)


def like(name: str) -> str:
    """A pattern of LIKE for a name: a filter string cannot hold quotes, and _ matches any
    character."""
    return re.sub(r"['\"\\%]", "_", name)


def is_absent(error: MlflowException) -> bool:
    """Whether the store answered that an entity does not exist, rather than failed to answer."""
    return error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


def _check_database() -> None:
    """Read a page of the database first, because MLflow waits only five seconds for a lock when it
    opens one."""
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
    """Check after the body that the store's database is still the same file.

    Raises:
        StoreError: it was deleted or replaced, so what was recorded meanwhile is lost.
    """
    path = database()
    before = path and path.exists() and path.stat()
    yield
    if before and not (path.exists() and os.path.samestat(before, path.stat())):
        raise StoreError(
            f"{path} was deleted or replaced during the run, so what it recorded is lost. Run the "
            "same command again."
        )


@contextmanager
def as_store_error(then: str = "") -> Iterator[None]:
    """Turn an error that MLflow raises in the body into a StoreError of one line, which ends with
    `then`, the next step."""
    try:
        yield
    except ERRORS as error:
        raise StoreError(f"{as_line(error)} {then}".strip()) from error


def as_line(error: Exception) -> str:
    """Describe an error of MLflow's store in one line."""
    first = str(error).strip().splitlines()[0][:300].rstrip(".")
    if server() and first.startswith("API request to"):
        return f"the MLflow server at {server()} does not answer any more."
    holds = "The file holds the record of all runs; their models stay in mlruns."
    path = database()
    found = path and meaning(_naming_newer_schema(str(error)), path, "MLflow", holds)
    return found or f"MLflow's store failed: {first}."


def _naming_newer_schema(message: str) -> str:
    """The error message, or one that says so if the database's schema is newer than MLflow's.

    MLflow calls such a schema out of date, too, but has no migration to it.
    """
    found = re.search(r"found version (\w+), but expected", message)
    migrations = Path(mlflow.__file__).parent / "store/db_migrations/versions"
    newer = found and not [*migrations.glob(f"{found.group(1)}_*")]
    return f"newer schema {found.group(1)}" if newer else message


def database() -> Path | None:
    """The store's SQLite file; None for any other store."""
    return sqlite_path(os.environ.get("MLFLOW_TRACKING_URI", ""))


def disable_retries() -> None:
    """Send each request only once from now on, for example because this process is ending."""
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"


def server() -> str:
    """The tracking server's address; empty if the store is a database or a folder."""
    store = os.environ.get("MLFLOW_TRACKING_URI", "")
    return store.rstrip("/") if store.startswith("http") else ""


def relocate(root: Path = ROOT) -> None:
    """Rewrite the artifact locations in `root`/mlflow.db to `root`/mlruns, in one transaction.

    MLflow stores absolute paths. After the project was moved they are invalid; after it was copied
    they lead to the original's artifacts, which the copy would then read and write. Only paths that
    MLflow chose itself are rewritten (PATH/mlruns/EXPERIMENT and those below it), and only if the
    artifacts are not just there, as when they were logged from another working directory. It is
    safe to repeat this and to run it in several processes at once.
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
    """The (old, new) locations of every experiment whose location has to be rewritten."""
    if not opened.execute("SELECT 1 FROM sqlite_master WHERE name = 'experiments'").fetchall():
        return
    found = opened.execute("SELECT experiment_id, artifact_location FROM experiments")
    for number, location in found.fetchall():
        old, new = Path(location or ""), root / ARTIFACTS / str(number)
        if old.is_absolute() and old.parts[-2:] == new.parts[-2:] and old != new:
            original = (old.parents[1] / DATABASE).exists()
            if original or new.exists() or not old.exists():
                yield location, str(new)
