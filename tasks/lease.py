"""Leases say which runs are alive: the operating system drops a lock when its process ends.

A command takes a lease before its run exists anywhere and marks the run with it in Prefect and
MLflow. A lease whose lock can be taken belongs to a dead process; its runs are reconciled.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from tasks.databases import sqlite_path

_held: list[tuple[str, dict[str, Any] | None]] = []  # a name, and the section `notify`


def _folder() -> Path:
    """Leases are kept per tracking store, so no command reconciles another store's runs."""
    store = os.environ.get("MLFLOW_TRACKING_URI", "")
    name = hashlib.sha256(store.encode()).hexdigest()[:12]
    folder = Path(os.environ["PREFECT_HOME"]) / "leases" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def exclusive(what: str, refusal: str = "", of_store: bool = False) -> Iterator[Callable[[], None]]:
    """Hold a lock that commands share, such as while a database is made.

    Args:
        what: the lock's name.
        refusal: what to say instead of waiting, if another process holds it; empty: wait.
        of_store: share it with every checkout on this machine that uses the same SQLite store,
            instead of with commands of this one.

    Yields:
        What raises OSError once the lock's file was deleted: others can hold the lock as well then.

    Raises:
        BlockingIOError: with the refusal.
    """
    store = sqlite_path(os.environ.get("MLFLOW_TRACKING_URI", "")) if of_store else None
    beside = f"{store}." if store else f"{os.environ['PREFECT_HOME']}/"
    path = Path(f"{beside}{quote(what, safe=' ')}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (fcntl.LOCK_NB if refusal else 0))
        except BlockingIOError:
            raise BlockingIOError(refusal) from None
        yield lambda: _check_there(lock, path)


def _check_there(file: IO[str], path: Path) -> None:
    if not (path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())):
        raise OSError(
            f"{os.environ['PREFECT_HOME']} was deleted while this command ran, and the "
            "record in it is gone. Run the same command again."
        )


def only_retraining(model: str | None) -> contextlib.AbstractContextManager[object]:
    """Let no other run train a registered model meanwhile; None is no model and excludes nobody.

    Raises:
        BlockingIOError: another process on this machine is training it in the same store.
    """
    if not model:
        return contextlib.nullcontext()
    refusal = f"a retraining of model '{model}' is under way. Wait until it has ended."
    return exclusive(f"model-{model}", refusal, of_store=True)


@contextlib.contextmanager
def lease(notify: dict[str, Any] | None = None) -> Iterator[str]:
    """Hold a lease; yields its name. It is removed if the body ends well.

    Otherwise it stays behind, unlocked, and says how the body ended, so that its runs are
    reconciled once more: whatever gave them a status may have been interrupted, or have met a
    server that does not answer.

    Raises OSError if the folder that it is in was deleted meanwhile.

    Args:
        notify: the section of the configuration that this process read, for whoever has to send
            notifications of how the run ended.
    """
    name = uuid.uuid4().hex[:12]
    path = _folder() / name
    new = path.parent.parent / name
    with new.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _write(lock, {"notify": notify})
        new.rename(path)  # nobody ever meets a living lease that is not locked yet
        _held.append((name, notify))
        try:
            yield name
        except BaseException as error:
            with contextlib.suppress(OSError):  # the disk is full: its runs are KILLED then
                _write(lock, {"notify": notify, "ended": exit_of(error)})
            raise
        finally:
            _held.remove((name, notify))
        _check_there(lock, path)
        path.unlink()


def _write(lock: IO[str], contents: dict[str, Any]) -> None:
    lock.seek(0)
    lock.truncate()
    json.dump(contents, lock)
    lock.flush()


def exit_of(error: BaseException) -> dict[str, str]:
    """The status and the reason of a run that an exception ended."""
    if isinstance(error, Exception):
        return {"status": "FAILED", "reason": f"{type(error).__name__}: {error}"}
    return {"status": "KILLED", "reason": "interrupted"}


def held_lease() -> str:
    """The name of the lease that this process holds; a process runs one experiment at a time."""
    return _held[-1][0]


def held_notify() -> dict[str, Any] | None:
    """The `notify` section of the run under the lease that this process holds."""
    return _held[-1][1]


def clear_abandoned(reconcile: Callable[[str, dict[str, Any]], None]) -> None:
    """Remove the leases of dead processes, each once its runs are reconciled.

    Args:
        reconcile: called with a lease's name and contents, while nobody else can take the lease.
            There are no contents if its process was killed while it wrote them.
    """
    for path in sorted(_folder().iterdir()):
        with contextlib.suppress(FileNotFoundError, BlockingIOError), path.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # else its process lives
            contents: dict[str, Any] = {}
            with contextlib.suppress(ValueError):
                contents = json.loads(path.read_text())
            reconcile(path.name, contents)
            path.unlink()
