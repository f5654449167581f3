"""The SQLite databases of MLflow and Prefect: where they are, and what their errors mean.

This module imports neither, so that a command can report errors before it has loaded them.
"""

import re
from pathlib import Path

PREFIX = "sqlite:///"
AWAY = (
    "the file away, with its -wal and -shm, if it has them: the next command begins a new one. "
    "{holds}"
)
FULL = r"database or disk is full|No space left on device|Disk quota exceeded"
MEANINGS = {  # by a pattern of the error message: the symptom, and the next step
    rf"{FULL}|disk I/O error": (
        "cannot be written: the disk is full or fails",
        "Free some space (df -h), then run the same command again.",
    ),
    r"database is locked|database table is locked": (
        "is locked: another process holds it for longer than {owner} waits",
        "Wait until that one has ended (fuser {path} names it), then run the same command again.",
    ),
    r"file is not a database|database disk image is malformed|no such (?:table|column)": (
        "is damaged, or no database of {owner}",
        f"Put a copy of yours back in its place, or move {AWAY}",
    ),
    r"Can't locate revision|newer schema": (
        "was written by a newer {owner} than is installed",
        f"Install that version, or move {AWAY}",
    ),
    r"readonly database|unable to open database file|Permission denied": (
        "cannot be opened or written",
        "Look at the permissions of the file and of its folder.",
    ),
}


def sqlite_path(uri: str) -> Path | None:
    """The file that an SQLAlchemy address names; None if it names no SQLite file."""
    path = uri.removeprefix(PREFIX).partition("?")[0]
    return Path(path) if uri.startswith(PREFIX) and path else None


def meaning(message: str, path: Path, owner: str, holds: str = "") -> str:
    """What an error message means for a database, its likely cause and the next step, in one line.

    Args:
        message: the error's text, or a log that has it.
        path: the database.
        owner: whose it is, MLflow's or Prefect's.
        holds: what is in it, for whoever may move it away.

    Returns:
        Empty if the text holds no error that databases are known for.
    """
    for pattern, (symptom, step) in MEANINGS.items():
        if found := re.search(pattern, message):
            line = f"{{path}} {symptom} ({found.group()}). {step}"
            return line.format(owner=owner, path=path, holds=holds).rstrip()
    return ""
