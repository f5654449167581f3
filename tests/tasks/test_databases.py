"""What is wrong with a database is said in one line, with the next step."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tasks.databases import meaning, sqlite_path
from tasks.tracking.run import open_store
from tasks.tracking.store import StoreError, as_store_error, check_store, database, still_there


def test_the_file_of_an_address() -> None:
    assert sqlite_path("sqlite:////a b/mlflow.db?timeout=3") == Path("/a b/mlflow.db")
    assert sqlite_path("sqlite:///mlflow.db") == Path("mlflow.db")
    assert sqlite_path("sqlite://") is None
    assert sqlite_path("postgresql://host/mlflow") is None


def garbage(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:300_000])


def of_tomorrow(path: Path) -> None:
    with closing(sqlite3.connect(path)) as opened, opened:
        opened.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")


FOUND = {
    garbage: "is damaged.*move the file away",
    cut_off: "is damaged.*Put a copy of yours back",
    of_tomorrow: "newer MLflow",
}


@pytest.mark.parametrize("damage", FOUND)
def test_a_store_that_cannot_be_used_is_told_by_what_is_wrong(
    empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable
) -> None:
    def use() -> None:
        with as_store_error():
            check_store()
            open_store()

    path = Path(shutil.copy(empty_store, tmp_path))
    damage(path)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
    with pytest.raises(StoreError, match=FOUND[damage]) as caught:
        use()
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_locked_store_is_waited_for_and_then_said_to_be_locked(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.tracking.store.LOCK_SECONDS", 0.2)
    with closing(sqlite3.connect(database())) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="is locked: another process"):
            check_store()
    check_store()


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "small.db")) as opened:
        opened.execute("PRAGMA max_page_count = 2")
        opened.execute("CREATE TABLE rows (text)")
        with pytest.raises(sqlite3.OperationalError) as caught:
            opened.execute("INSERT INTO rows VALUES (zeroblob(100000))")
    assert "the disk is full" in meaning(str(caught.value), tmp_path / "small.db", "MLflow")
    assert "the disk is full" in meaning(str(OSError(28, "No space left on device")), Path(), "")
    assert not meaning("another error", tmp_path, "MLflow")


def test_a_store_that_was_deleted_under_a_run_is_noticed(client: MlflowClient) -> None:
    def delete() -> None:
        with still_there():
            database().unlink()

    with still_there():
        client.create_experiment("another")
    with pytest.raises(StoreError, match="deleted or replaced while the run"):
        delete()
