"""Which of the files that were found a run trains on."""

from dataclasses import dataclass
from datetime import UTC, datetime

from plumbline.config.retraining import Window
from plumbline.config.schema import TableData
from plumbline.data.files import DataFile, find_files
from plumbline.errors import InputError


@dataclass(frozen=True)
class Chosen:
    """Files, sorted by path.

    Attributes:
        files: those to train on, at least one.
        left_out: those outside the window.
    """

    files: tuple[DataFile, ...]
    left_out: tuple[DataFile, ...] = ()


def choose_files(data: TableData) -> Chosen:
    """Find a table's files and apply its window, as it is now.

    Raises:
        InputError: there is no file, none is in the window, or a file's age is not known.
    """
    return in_window(find_files(data.path), data.window, datetime.now(UTC))


def in_window(files: tuple[DataFile, ...], window: Window | None, now: datetime) -> Chosen:
    """Split files, sorted by path, into those inside and outside a window."""
    if window and window.files:
        return Chosen(files[-window.files :], files[: -window.files])
    if window and window.since:
        return _changed_since(files, window, now)
    return Chosen(files)


def _changed_since(files: tuple[DataFile, ...], window: Window, now: datetime) -> Chosen:
    start = window.start(now).timestamp() * 1e9
    if undated := next((file for file in files if not file.modified), None):
        raise InputError(
            f"data.window.since: when {undated.uri} was changed is not known. "
            "Use data.window.files instead."
        )
    recent = tuple(file for file in files if file.modified >= start)
    if not recent:
        newest = datetime.fromtimestamp(max(file.modified for file in files) / 1e9, UTC)
        raise InputError(
            f"data.window.since must leave at least one file. Got {window.since!r}; the newest of "
            f"{len(files)} was changed at {newest:%Y-%m-%d %H:%M} UTC."
        )
    return Chosen(recent, tuple(file for file in files if file.modified < start))
