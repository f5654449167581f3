"""Keeps on disk what an interrupted run needs to be resumed, until the run is recorded.

Each run has a folder with its configuration and the checkpoint of its training. The process that
trains holds a lock on the folder, which the operating system releases however the process ends.
"""

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from plumbline.config.loading import validated
from plumbline.config.schema import Config, TableData
from plumbline.data.blocks import Source
from plumbline.data.sources import Table, open_table
from plumbline.errors import InputError, refuse
from plumbline.training.checkpoint import Checkpoint
from tasks.screen import note
from tasks.tracking.run import FLOW_TAG, Run, unfinished
from tasks.tracking.store import FAILURES

RUN, TRAINING = "run.json", "training.pt"
MAX_AGE = 90 * 86_400  # seconds, after which a folder is deleted


@dataclass(frozen=True)
class Interrupted:
    """An interrupted run.

    Attributes:
        id: its MLflow id.
        title: its name in MLflow.
        name: the requested name, to which the title may add a number.
        config: the experiment.
        digest: the result of `_digest` when the run began.
        flow_run: the Prefect id of its last flow run.
    """

    id: str
    title: str
    name: str
    config: Config
    digest: str
    flow_run: str


@contextlib.contextmanager
def resumable(run: Run, config: Config, name: str, source: Source) -> Iterator[Checkpoint]:
    """Make a run resumable until the body has recorded it; yield its checkpoint.

    The run stays resumable if the body is interrupted or fails because of a server, a disk or a
    file, since it may succeed later. Wrong input or code would only fail again.

    Raises:
        InputError: the files, the user's module or this project changed since the run was
            interrupted.
        BlockingIOError: another process is resuming it.
    """
    folder, digest = _store() / run.id, _digest(config, source)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        try:
            begun = _read(folder)
            if begun and begun["digest"] != digest:
                raise InputError(
                    f"run '{run.name}' cannot be resumed, because its data files, its module or "
                    "Plumbline itself changed since it was interrupted. Run the experiment again."
                )
            if not begun:
                asked = config.model_dump(mode="json", exclude_unset=True)
                kept = {"title": run.name, "name": name, "config": asked, "digest": digest}
                (folder / RUN).write_text(json.dumps(kept))
            yield Checkpoint(folder / TRAINING, config.training.checkpoint_every)
        except BaseException as error:
            if isinstance(error, Exception) and not isinstance(error, FAILURES):
                shutil.rmtree(folder)
            else:
                note(f"to resume this run: make resume RUN={run.id[:8]}")
            raise
        shutil.rmtree(folder)


def find_interrupted(run: str = "") -> Interrupted:
    """Find the newest interrupted run of the current store, or the one with a name or (short) id.

    Raises:
        InputError: there is no such run.
    """
    for each in _interrupted():
        if not run or each.title == run or each.id.startswith(run):
            return each
    if run:
        known = "the name or id of an interrupted run of this store (of a sweep: make sweep again)"
        raise refuse("RUN", known, run)
    raise InputError(
        "there is no interrupted run of this store to resume. A sweep is resumed by the same make "
        "sweep; make run-pipeline starts a run."
    )


def interrupted_like(asked: Mapping[str, Any]) -> Interrupted | None:
    """Find an interrupted run of the same configuration and files; None if there is none, or if the
    configuration is wrong, which running it will report."""
    with contextlib.suppress(InputError, OSError):
        config = validated(asked, "run parameters")
        if alike := [each for each in _interrupted() if each.config == config]:
            table = isinstance(config.data, TableData)
            digest = _digest(config, open_table(config.data) if table else None)
            return next((each for each in alike if each.digest == digest), None)
    return None


def _interrupted() -> Iterator[Interrupted]:
    """Yield the interrupted runs of the current store, newest first; delete obsolete folders."""
    for folder in sorted(_store().glob("*"), key=os.path.getmtime, reverse=True):
        with contextlib.suppress(FileNotFoundError, BlockingIOError), _locked(folder):
            kept, run = _read(folder), unfinished(folder.name)
            old = time.time() - folder.stat().st_mtime > MAX_AGE
            if not kept or not run or old:
                shutil.rmtree(folder)
                continue
            yield Interrupted(folder.name, flow_run=run.data.tags[FLOW_TAG], **kept)


def _store() -> Path:
    """The folder with the interrupted runs of the current tracking store."""
    store = sha256(os.environ["MLFLOW_TRACKING_URI"].encode()).hexdigest()[:12]
    return Path(os.environ["PLUMBLINE_HOME"]) / "checkpoints" / store


def _read(folder: Path) -> dict[str, Any] | None:
    """The content of a run's folder; None if it is missing, incomplete, or was written by a version
    with other configuration keys."""
    try:
        kept = json.loads((folder / RUN).read_text())
        return {**kept, "config": validated(kept["config"], str(folder))}
    except (FileNotFoundError, ValueError):  # an InputError is one
        return None


def _digest(config: Config, source: Source | None) -> str:
    """A digest of all that a run depends on: its configuration, the files that it reads (as listed)
    and the code of a user's own module."""
    files = [asdict(file) for file in source.files] if isinstance(source, Table) else []
    code = config.model.content.decode(errors="replace") if config.model.kind == "python" else ""
    return sha256(json.dumps([config.model_dump(mode="json"), files, code]).encode()).hexdigest()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock a folder for the body. Raises BlockingIOError: another process holds the lock."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise BlockingIOError(
            "the run is under way in another process. Wait until it has ended."
        ) from None
    finally:
        os.close(handle)
