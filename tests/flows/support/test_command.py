"""What all commands share: what may pass is waited for, a defect is not."""

import sqlite3

import httpx
import pytest
from mlflow.exceptions import MlflowException
from prefect.exceptions import PrefectHTTPStatusError

from flows import schedule
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


class Steps:
    """A server and a scheduler of which each step raises the next of some errors."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    def keep(self) -> None: ...

    def step(self) -> None:
        raise self.errors.pop(0)


def test_a_schedule_waits_for_what_may_pass_and_ends_at_a_defect(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(schedule, "STEP_SECONDS", 0)
    steps = Steps(OSError("away"), OSError("away"), httpx.ConnectError("refused"), KeyError("bug"))
    with pytest.raises(KeyError, match="bug"):
        schedule._keep_stepping(steps, steps, lambda: None)
    assert steps.errors == []
    assert capsys.readouterr().out.count("the schedule waits") == 2
