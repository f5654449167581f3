"""A registered model is trained by one process at a time."""

import fcntl
import shutil
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tasks.lease import clear_abandoned, exclusive, lease, only_retraining
from tasks.reconciliation import reconcile

HOLD = """
import sys
from tasks.lease import only_retraining
with only_retraining("a/b"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))


def test_a_model_that_another_process_trains_is_refused_until_that_is_killed():
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout.readline() == b"held\n"
    with pytest.raises(BlockingIOError, match="model 'a/b' is under way"), only_retraining("a/b"):
        raise AssertionError
    with only_retraining("another"), only_retraining(None), only_retraining(None):
        other.kill()
    other.communicate()
    with only_retraining("a/b"):
        assert other.returncode


def test_two_checkouts_with_one_store_exclude_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_checkout(name: str) -> AbstractContextManager[None]:
        monkeypatch.setenv("PREFECT_HOME", str(tmp_path / name))
        return only_retraining("m")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    with of_checkout("one"), pytest.raises(BlockingIOError), of_checkout("two"):
        raise AssertionError
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://another.invalid")
    with of_checkout("one"), of_checkout("two"):
        pass


def test_a_lease_or_a_lock_whose_file_was_deleted_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / ".prefect"
    monkeypatch.setenv("PREFECT_HOME", str(home))
    with pytest.raises(OSError, match="was deleted while this command ran"), lease():
        shutil.rmtree(home)
    with exclusive("schedule-a") as check:
        check()
        shutil.rmtree(home)
        with exclusive("schedule-a"), pytest.raises(OSError, match="was deleted"):
            check()


def test_a_lease_stays_behind_unless_its_run_ended_well(tmp_path):
    with lease() as name:
        assert left(tmp_path, name)
    assert not left(tmp_path, name)
    with pytest.raises(OSError, match="away"), lease() as name:
        raise OSError("the server is away")
    assert left(tmp_path, name)


def test_a_lease_is_safe_from_another_process_that_reconciles_before_it_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock

    def reconcile_first(file: Any, how: int) -> None:
        if how == fcntl.LOCK_EX:
            monkeypatch.setattr(fcntl, "flock", lock)
            reconcile()
        lock(file, how)

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # whom reconciling would ask
    monkeypatch.setattr(fcntl, "flock", reconcile_first)
    with lease() as name:
        reconcile()
        assert left(tmp_path, name)


def test_a_lease_of_another_store_is_left_for_a_command_that_talks_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(OSError, match="killed"), lease() as name:
        raise OSError("killed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    reconcile()
    assert left(tmp_path, name)


ENDINGS = {
    "failed": (ValueError("why"), {"status": "FAILED", "reason": "ValueError: why"}),
    "interrupted": (KeyboardInterrupt(), {"status": "KILLED", "reason": "interrupted"}),
}


@pytest.mark.parametrize(("error", "ended"), ENDINGS.values(), ids=ENDINGS)
def test_a_lease_that_stays_behind_says_how_its_runs_ended_and_whom_to_notify(
    error: BaseException, ended: dict[str, str]
) -> None:
    with pytest.raises(type(error)), lease({"to": ["ada"]}) as name:
        raise error
    found: list[tuple[str, dict[str, Any]]] = []
    clear_abandoned(lambda *each: found.append(each))
    assert found == [(name, {"notify": {"to": ["ada"]}, "ended": ended})]


@pytest.mark.parametrize("said", ["", '{"noti'])
def test_a_lease_that_was_cut_off_while_it_was_written_says_nothing(
    tmp_path: Path, said: str
) -> None:
    with pytest.raises(OSError, match="killed"), lease() as name:
        raise OSError("killed")
    (path,) = left(tmp_path, name)
    path.write_text(said)
    found: list[tuple[str, dict[str, Any]]] = []
    clear_abandoned(lambda *each: found.append(each))
    assert found == [(name, {})]
    assert not left(tmp_path, name)


def left(home: Path, name: str) -> list[Path]:
    """Where a lease lies."""
    return list((home / "leases").rglob(name))
