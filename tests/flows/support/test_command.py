"""What all commands share: what they find in the environment, and what may pass is waited for."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from mlflow.exceptions import MlflowException
from prefect.exceptions import PrefectHTTPStatusError

from flows.support.command import may_pass, without_login
from tests.flows.conftest import ROOT

PREPARED = """
import json, os
from flows.support.command import prepare_environment
prepare_environment()
print(json.dumps(dict(os.environ)))
"""


def is_command(path: Path) -> bool:
    """Whether a module prepares the environment itself."""
    text = path.read_text()
    return "prepare_environment()" in text or "prepare_store()" in text


def test_logins_are_taken_out_of_the_servers_addresses(tmp_path: Path) -> None:
    given = {
        "PREFECT_HOME": str(tmp_path),
        "MLFLOW_TRACKING_URI": "http://ann:open%20up@mlflow:5000",
        "PREFECT_API_URL": "https://team:secret@prefect/api",
    }
    printed = subprocess.check_output(
        [sys.executable, "-c", PREPARED], cwd=ROOT, env=os.environ | given, text=True
    )
    found = json.loads(printed)
    assert found["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    assert found["MLFLOW_TRACKING_USERNAME"] == "ann"
    assert found["MLFLOW_TRACKING_PASSWORD"] == "open up"
    assert found["PREFECT_API_URL"] == "https://prefect/api"
    assert found["PREFECT_API_AUTH_STRING"] == "team:secret"


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://h:5000/api", ("http://h:5000/api", "", "")),
        ("https://ann:a%40b@h/api?x=1", ("https://h/api?x=1", "ann", "a@b")),
        ("sqlite:////tmp/mlflow.db", ("sqlite:////tmp/mlflow.db", "", "")),
        ("", ("", "", "")),
    ],
)
def test_a_login_is_taken_out_and_the_rest_is_as_it_was(uri, expected):
    assert without_login(uri) == expected


STREAMS = """
import flows, os, subprocess, sys
opened = os.open(sys.argv[1], os.O_WRONLY)
told = [os.readlink(f"/proc/self/fd/{number}") for number in range(3)]
child = subprocess.run([sys.executable, "-c", "import sys; print(sys.stdin, sys.stderr)"])
os.write(opened, f"{told} {opened} {child.returncode} {print('said')}".encode())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("given", ["", "http://prefect/api"])
def test_the_login_of_our_own_prefect_server_goes_to_no_other(tmp_path: Path, given: str) -> None:
    named = {"PREFECT_API_URL": given} if given else {}
    named |= {"PREFECT_HOME": str(tmp_path), "PREFECT_SERVER_API_AUTH_STRING": "me:secret"}
    printed = subprocess.check_output([sys.executable, "-c", PREPARED], cwd=ROOT, env=named)
    expected = None if given else "me:secret"
    assert json.loads(printed).get("PREFECT_API_AUTH_STRING") == expected


def test_closed_standard_streams_are_the_null_device(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.touch()
    closed = ["bash", "-c", 'exec "$@" <&- >&- 2>&-', "-", sys.executable, "-c", STREAMS, str(out)]
    subprocess.run(closed, cwd=ROOT, check=True)
    assert out.read_text() == f"{['/dev/null'] * 3} 3 0 None"


PATHS = sorted(path for path in (ROOT / "flows").rglob("*.py") if is_command(path))
COMMANDS = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in PATHS]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_imported_before_what_reads_the_environment(name: str) -> None:
    """prefect and mlflow take their settings when they are imported, which is before they are set
    if a command's module imports them."""
    asked = f"import sys, {name}; print({{'prefect', 'mlflow', 'torch'}} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", asked], cwd=ROOT) == b"set()\n"


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
