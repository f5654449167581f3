"""What all commands share: what may pass is waited for, a defect is not."""

import sqlite3

import httpx
import pytest
from mlflow.exceptions import MlflowException
from prefect.exceptions import PrefectHTTPStatusError

from flows.support.command import may_pass

REQUEST = httpx.Request("GET", "http://127.0.0.1/api")


def caused(error: Exception, cause: Exception) -> Exception:
    """An error that another one led to."""
    error.__cause__ = cause
    return error


PASSING = [
    ConnectionRefusedError("refused"),
    TimeoutError("slow"),
    httpx.ConnectError("refused"),
    httpx.ReadTimeout("slow"),
    PrefectHTTPStatusError("busy", request=REQUEST, response=httpx.Response(503, request=REQUEST)),
    caused(RuntimeError("Failed to reach API"), httpx.ConnectError("refused")),
    MlflowException("the store is away"),
    sqlite3.OperationalError("database is locked"),
]
DEFECTS = [KeyError("config"), TypeError("None"), RuntimeError("no loop"), AssertionError()]


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_what_may_pass(error: Exception) -> None:
    assert may_pass(error)


@pytest.mark.parametrize("error", DEFECTS, ids=repr)
def test_a_defect_does_not_pass(error: Exception) -> None:
    assert not may_pass(error)
    error.__context__ = ConnectionError("another one that was dealt with")
    assert not may_pass(error)
