"""Artifact locations in this checkout's own SQLite store, once that was moved or copied.

MLflow writes absolute paths into its database. After a move they lead nowhere; after a copy they
lead into the original, which the copy would read and write.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from tasks.databases import sqlite_path

ROOT = Path(__file__).resolve().parents[2]
DATABASE, ARTIFACTS = "mlflow.db", "mlruns"
LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)
TIMEOUT_SECONDS = 20


def relocate(root: Path = ROOT) -> None:
    """Let the locations of `root`/mlflow.db lead to `root`/mlruns again, in one transaction.

    Only what MLflow chose itself is rewritten, PATH/mlruns/EXPERIMENT and what is below it, and
    only if it is not the only place where such artifacts are (they may have been logged from
    another working folder). Safe to repeat, and to run in several processes at once.
    """
    path = root / DATABASE
    if sqlite_path(os.environ.get("MLFLOW_TRACKING_URI", "")) != path or not path.exists():
        return
    with closing(sqlite3.connect(path, timeout=TIMEOUT_SECONDS)) as database, database:
        for old, new in list(_moved(database, root)):
            for table, column in LOCATIONS:
                database.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
                )


def _moved(database: sqlite3.Connection, root: Path) -> Iterator[tuple[str, str]]:
    """(old, new) location of every experiment that is elsewhere."""
    if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'experiments'").fetchall():
        return
    found = database.execute("SELECT experiment_id, artifact_location FROM experiments")
    for number, location in found.fetchall():
        old, new = Path(location or ""), root / ARTIFACTS / str(number)
        if old.is_absolute() and old.parts[-2:] == new.parts[-2:] and old != new:
            original = (old.parents[1] / DATABASE).exists()
            if original or new.exists() or not old.exists():
                yield location, str(new)
