"""The SQLite databases of MLflow and Prefect: their files, and messages for their errors.

This module imports neither, so that a command can report errors before it has imported them.
"""

import re
from pathlib import Path

PREFIX = "sqlite:///"
AWAY = (
    "the file away, with its -wal and -shm files, if any: the next command creates a new one. "
    "{holds}"
)
FULL = r"database or disk is full|No space left on device|Disk quota exceeded"
MEANINGS = {  # a pattern of the error message: the symptom and the next step
    rf"{FULL}|disk I/O error": (
        "cannot be written: the disk is full or failing",
        "Free some space (df -h), then run the same command again.",
    ),
    r"database is locked|database table is locked": (
        "is locked: another process holds it for longer than {owner} waits",
        "Wait until it has ended (fuser {path} shows it), then run the same command again.",
    ),
    r"file is not a database|database disk image is malformed|no such (?:table|column)": (
        "is damaged or is not a database of {owner}",
        f"Restore it from a backup, or move {AWAY}",
    ),
    r"Can't locate revision|newer schema": (
        "was written by a newer {owner} than the installed one",
        f"Install that version, or move {AWAY}",
    ),
    r"readonly database|unable to open database file|Permission denied": (
        "cannot be opened or written",
        "Check the permissions of the file and of its folder.",
    ),
}


def sqlite_path(uri: str) -> Path | None:
    """The file of an SQLAlchemy URL; None if it is not an SQLite database in a file."""
    path = uri.removeprefix(PREFIX).partition("?")[0]
    return Path(path) if uri.startswith(PREFIX) and path else None


def meaning(message: str, path: Path, owner: str, holds: str = "") -> str:
    """Explain a database's error in one line, with the likely cause and the next step.

    Args:
        message: the error's text, or a log that contains it.
        path: the database.
        owner: "MLflow" or "Prefect".
        holds: a sentence that says what the file contains, for a user who may move it away.

    Returns:
        The explanation; empty if the text contains no known error.
    """
    for pattern, (symptom, step) in MEANINGS.items():
        if found := re.search(pattern, message):
            line = f"{{path}} {symptom} ({found.group()}). {step}"
            return line.format(owner=owner, path=path, holds=holds).rstrip()
    return ""
