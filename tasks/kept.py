"""What was trained and could not be recorded: kept on disk until `make record` can."""

import os
import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from plumbline.errors import refuse
from plumbline.training.experiment import Result, portable
from tasks.tracking.run import Run
from tasks.tracking.store import StoreError, as_store_error, disable_retries

FILE = "result.pickle"
LONGEST_NAME = 60  # of a folder, in characters: file systems take 255 bytes


@contextmanager
def kept_unless_recorded(run: Run, result: Result) -> Iterator[None]:
    """Keep the result on disk where the body, which records it, cannot.

    Raises:
        StoreError: it is kept; where, and how to record it.
    """
    try:
        with as_store_error():
            yield
    except OSError as error:
        disable_retries()
        raise StoreError(
            f"{error} What was trained is kept. To record it later: "
            f"make record FOLDER={keep(run, result)}"
        ) from error


def keep(run: Run, result: Result) -> Path:
    """Write a result into a folder of its own; returns its path, relative where it can be.

    The file appears in it when it is whole. The source of the rows is left out: they may be others
    by the time the result is recorded.
    """
    name = re.sub(r"[^\w.-]+", "-", f"{result.config.experiment}-{run.name}-{run.id[:8]}")
    name = name[-LONGEST_NAME:].lstrip(".-")  # none that is hidden
    folder = Path(os.environ["PLUMBLINE_HOME"]) / "unrecorded" / name
    folder.mkdir(parents=True, exist_ok=True)
    kept = replace(
        result,
        data=replace(result.data, source=None),
        trained=portable(result.trained, result.config, result.data),
    )
    half = folder / f"{FILE}.part"
    half.write_bytes(pickle.dumps((run.id, kept)))
    half.rename(folder / FILE)
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def read_kept(path: str) -> tuple[str, Result]:
    """(MLflow's id of the run, its result) from a folder; the rows cannot be read again.

    It is a pickle, which may run code: a folder must be this project's own.

    Raises:
        InputError: it is no such folder, or another version of this project wrote it.
    """
    try:
        return pickle.loads((Path(path) / FILE).read_bytes())
    except Exception:  # what a file that is no such pickle raises may be anything
        allowed = "a folder of .plumbline/unrecorded, as a run that could not be recorded names it"
        raise refuse("FOLDER", allowed, path) from None
