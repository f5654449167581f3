"""What a command says if its databases are damaged, newer, or deleted under it: one line."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.entities import Run

from tests.flows.conftest import Done, Workspace, cloned

TUTORIAL = "configs/tutorial.yaml"


@pytest.fixture(scope="module")
def clone(
    checkout: Workspace, tutorial: tuple[Done, Run], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workspace]:
    """A clone with copies of databases that a run has made: making new ones takes ten seconds."""
    with cloned(tmp_path_factory.mktemp("faults").resolve()) as made:
        (made.root / ".prefect").mkdir()
        for name in ("mlflow.db", ".prefect/prefect.db"):
            with (
                closing(sqlite3.connect(checkout.root / name)) as source,
                closing(sqlite3.connect(made.root / name)) as copy,
            ):
                source.backup(copy)
        yield made


def garbage(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


def of_tomorrow(path: Path) -> None:
    with closing(sqlite3.connect(path)) as opened, opened:
        opened.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")


@pytest.mark.parametrize(
    ("name", "command", "damage", "said"),
    [
        ("mlflow.db", ("flows.compare",), garbage, "is damaged"),
        ("mlflow.db", ("flows.ui",), of_tomorrow, "by a newer"),
        (".prefect/prefect.db", ("flows.pipeline", TUTORIAL), garbage, "is damaged"),
        (".prefect/prefect.db", ("flows.pipeline", TUTORIAL), of_tomorrow, "by a newer"),
    ],
)
def test_a_database_that_cannot_be_used_is_named_with_a_next_step(
    clone: Workspace, tmp_path: Path, name: str, command: tuple, damage: Callable, said: str
) -> None:
    path = clone.root / name
    for file in (path, *path.parent.glob(f"{path.name}-*")):
        shutil.move(file, tmp_path)
    shutil.copy(tmp_path / path.name, path)
    damage(path)
    done = clone.run(*command)
    for file in tmp_path.iterdir():
        shutil.move(file, path.parent / file.name)
    assert done.status == 1
    assert len(done.err.splitlines()) == 1, done.err
    assert f"{path} " in done.err
    assert said in done.err
    assert "clean-history" not in done.err


@pytest.mark.slow
@pytest.mark.parametrize("gone", ["mlflow.db", ".prefect"])
def test_a_run_whose_record_was_deleted_says_so(clone: Workspace, gone: str) -> None:
    process = clone.start("flows.pipeline", TUTORIAL, f"experiment={gone}", "training.epochs=20000")
    while not process.stdout.readline().startswith("Epoch"):
        assert process.poll() is None
    for path in clone.root.glob(f"{gone}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    out, err = process.communicate()
    assert process.returncode == 1, err
    assert "Recorded" not in out
    assert f"{clone.root / gone} was " in err
    assert len(err.splitlines()) == 1
    assert clone.pipeline(TUTORIAL, "training.epochs=1").status == 0
