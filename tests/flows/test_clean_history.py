"""make clean-history deletes what is recorded only when asked twice, and never under a command;
make clean-cache what is kept of files."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.conftest import Workspace, cloned

HOLD = """
import sys
from flows.support.command import prepare_environment
from tasks.lease import lease
prepare_environment()
with lease():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[Workspace]:
    """A clone with files where its record would be."""
    with cloned(tmp_path.resolve()) as clone:
        for name in (
            "mlflow.db",
            "mlflow.db-wal",
            "mlflow.db.model-m.lock",
            "mlruns/1/model",
            ".prefect/prefect.db",
        ):
            (clone.root / name).parent.mkdir(parents=True, exist_ok=True)
            (clone.root / name).touch()
        yield clone


def test_it_says_what_it_deletes_and_deletes_nothing_without_a_yes(recorded: Workspace) -> None:
    done = recorded.run("flows.clean", "history")
    assert done.status == 2
    assert all(name in done.out for name in ("mlflow.db-wal", "mlruns", ".prefect"))
    assert ".lock" not in done.out
    assert done.err == "Nothing was deleted. To delete it without being asked: YES=1.\n"
    assert (recorded.root / "mlruns/1/model").exists()
    assert recorded.run("flows.clean", "history", YES="no").status == 2
    assert (recorded.root / "mlruns/1/model").exists()
    assert recorded.run("flows.clean", "history", YES="1").status == 0
    assert not [*recorded.root.glob("ml*"), *recorded.root.glob(".prefect")]
    assert "Nothing is recorded here" in recorded.run("flows.clean", "history").out


def test_it_refuses_while_a_run_is_alive(recorded: Workspace) -> None:
    command = [sys.executable, "-c", HOLD]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    alive = subprocess.Popen(command, cwd=recorded.root, env=recorded.environment, **pipes)
    assert alive.stdout.readline() == b"held\n"
    done = recorded.run("flows.clean", "history", "--yes")
    assert done.status == 1
    assert "is under way here" in done.err
    assert (recorded.root / "mlflow.db").exists()
    alive.kill()
    alive.communicate()
    assert recorded.run("flows.clean", "history", "--yes").status == 0


def test_the_cache_is_emptied_and_nothing_stays_in_the_background(tmp_path: Path) -> None:
    with cloned(tmp_path.resolve()) as clone:
        kept = clone.root / ".prefect/storage/factor-1"
        kept.parent.mkdir(parents=True)
        kept.write_bytes(bytes(10**6))
        done = clone.run("flows.clean", "cache")
        assert (done.status, done.err) == (0, "")
        assert done.out == f"Deleted 1.0 MB from {kept.parent}.\n"
        assert not kept.exists()
        assert clone.processes() == []
