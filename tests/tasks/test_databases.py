"""What is wrong with a database is said in one line, with the next step."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tasks.databases import meaning, sqlite_path


def test_the_file_of_an_address() -> None:
    assert sqlite_path("sqlite:////a b/mlflow.db?timeout=3") == Path("/a b/mlflow.db")
    assert sqlite_path("sqlite:///mlflow.db") == Path("mlflow.db")
    assert sqlite_path("sqlite://") is None
    assert sqlite_path("postgresql://host/mlflow") is None


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "small.db")) as opened:
        opened.execute("PRAGMA max_page_count = 2")
        opened.execute("CREATE TABLE rows (text)")
        with pytest.raises(sqlite3.OperationalError) as caught:
            opened.execute("INSERT INTO rows VALUES (zeroblob(100000))")
    assert "the disk is full" in meaning(str(caught.value), tmp_path / "small.db", "MLflow")
    assert "the disk is full" in meaning(str(OSError(28, "No space left on device")), Path(), "")
    assert not meaning("another error", tmp_path, "MLflow")
