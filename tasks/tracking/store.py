"""MLflow's store as something that may be away: what is said then, and how long is waited.

MLflow's client tries a request to a server again and again for about four minutes
(MLFLOW_HTTP_REQUEST_MAX_RETRIES and its neighbours say how long), so a shorter absence costs time
and nothing else. Trying again is safe: a metric that is sent twice is stored once.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request
from requests import RequestException

from tasks.tracking.relocation import relocate

FAILURES = (MlflowException, OSError)  # what a call may raise where the store fails
SEARCH = "/api/2.0/mlflow/experiments/search"


class StoreError(OSError):
    """The store did not take what it was to record."""


def check_store() -> None:
    """Look whether a tracking server is there and lets us in; a busy one gets a minute to answer.

    Raises:
        StoreError: it does not answer, or refuses the login.
    """
    store = server()
    if not store:
        relocate()
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


def is_absent(error: MlflowException) -> bool:
    """Whether the store answered that what was asked for does not exist, and did not just fail."""
    return error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


@contextmanager
def plainly(then: str = "") -> Iterator[None]:
    """Turn what MLflow raises in the body into a StoreError of one line; then: the next step."""
    try:
        yield
    except (MlflowException, RequestException) as error:
        raise StoreError(f"{_told(error)} {then}".strip()) from error


def _told(error: Exception) -> str:
    """What happened, in one line; MLflow names a request that was never answered by its address."""
    first = str(error).strip().splitlines()[0][:300].rstrip(".")
    if server() and first.startswith("API request to"):
        return f"the MLflow server at {server()} does not answer any more."
    return f"MLflow's store failed: {first}."


def give_up() -> None:
    """Try each request once from here on: the store stayed away, and this process is to end."""
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"


def server() -> str:
    """The tracking server's address; empty where the store is a database or a folder."""
    store = os.environ.get("MLFLOW_TRACKING_URI", "")
    return store.rstrip("/") if store.startswith("http") else ""
