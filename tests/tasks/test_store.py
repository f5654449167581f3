"""A store that is damaged, locked, deleted, moved or copied: what is said, and what is found."""

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tasks.tracking.models import load_stored
from tasks.tracking.store import (
    ROOT,
    StoreError,
    as_store_error,
    check_store,
    database,
    open_store,
    relocate,
    still_there,
)
from tests.flows.conftest import eventually
from tests.tasks.test_registry import add

Open = Callable[[Path], MlflowClient]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Open:
    """A function that works in a folder with the store that is there."""

    def use(root: Path) -> MlflowClient:
        monkeypatch.chdir(root)
        monkeypatch.setenv("PREFECT_HOME", str(root))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}")
        relocate(root)
        return MlflowClient(f"sqlite:///{root / 'mlflow.db'}")

    return use


@pytest.fixture
def original(empty_store: Path, tmp_path: Path, opened: Open) -> Path:
    """A folder with a store and a model with a version."""
    root = tmp_path / "original"
    root.mkdir()
    shutil.copy(empty_store, root)
    opened(root)
    add()
    return root


def files(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_moved_store_finds_its_models_and_writes_beside_them(
    original: Path, tmp_path: Path, opened: Open
) -> None:
    moved = original.rename(tmp_path / "it's 100 % _moved")
    client = opened(moved)
    assert load_stored("models:/m/1").module.weights.tolist() == [1.0]
    run = client.get_run(client.get_model_version("m", "1").run_id)
    client.log_text(run.info.run_id, "text", "new.txt")
    add()
    assert next(moved.rglob("new.txt")).read_text() == "text"
    assert len(list(moved.rglob("MLmodel"))) == 2
    assert not original.exists()


def test_a_copy_reads_and_writes_its_own_files_only(
    original: Path, tmp_path: Path, opened: Open
) -> None:
    before = files(original)
    copy = Path(shutil.copytree(original, tmp_path / "copy"))
    opened(copy)
    add()
    load_stored("models:/m@champion")
    assert files(original) == before
    assert len(list(copy.rglob("MLmodel"))) == 2
    shutil.rmtree(original)
    assert load_stored("models:/m/1").module.weights.tolist() == [1.0]


def test_what_was_logged_to_another_place_stays_there(
    original: Path, tmp_path: Path, opened: Open
) -> None:
    client = opened(original)
    notebooks = tmp_path / "notebooks" / "mlruns" / "2"  # as MLflow names it in that folder
    notebooks.mkdir(parents=True)
    places = {"notebooks": str(notebooks), "chosen": str(tmp_path), "server": "mlflow-artifacts:/5"}
    for name, place in places.items():
        client.create_experiment(name, artifact_location=place)
    assert client.get_experiment_by_name("notebooks").experiment_id == "2"
    moved = opened(original.rename(tmp_path / "moved"))
    found = {e.name: e.artifact_location for e in moved.search_experiments()}
    own = tmp_path / "moved" / "mlruns"
    assert found == places | {"Default": str(own / "0"), "registry": str(own / "1")}


def test_another_store_or_none_is_left_alone(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relocate(tmp_path)
    assert not (tmp_path / "mlflow.db").exists()
    copy = Path(shutil.copytree(original, tmp_path / "copy"))
    before = files(copy)
    relocate(copy)  # the environment names the original's
    assert files(copy) == before
    (tmp_path / "mlflow.db").touch()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    relocate(tmp_path)  # no table yet
    assert (tmp_path / "mlflow.db").read_bytes() == b""


def garbage(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:300_000])


def of_tomorrow(path: Path) -> None:
    with closing(sqlite3.connect(path)) as opened, opened:
        opened.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")


FOUND = {
    garbage: "is damaged.*move the file away",
    cut_off: "is damaged.*Restore it from a backup",
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


def test_a_store_that_was_deleted_under_a_run_is_noticed(client: MlflowClient) -> None:
    def delete() -> None:
        with still_there():
            database().unlink()

    with still_there():
        client.create_experiment("another")
    with pytest.raises(StoreError, match="deleted or replaced during the run"):
        delete()


def test_a_first_start_that_is_killed_while_it_makes_the_tables_leaves_the_next_one_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    process = subprocess.Popen(
        [sys.executable, "-c", "from tasks.tracking.store import open_store; open_store()"],
        cwd=ROOT,
    )
    half = tmp_path / "mlflow.db.half"
    eventually(lambda: half.exists() and half.stat().st_size)
    process.kill()
    process.wait()
    assert not (tmp_path / "mlflow.db").exists()
    assert open_store().search_experiments()
    assert not half.exists()
