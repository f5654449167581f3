"""Leases show which runs are alive: the operating system releases a lock when its process ends.

A command takes a lease before it creates a run in Prefect or MLflow, and tags the run with it. A
lease whose lock is free belongs to a dead process, whose runs are reconciled.
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

_held: list[tuple[str, dict[str, Any] | None]] = []  # names, and sections `notify`


def _folder() -> Path:
    """Leases are kept per tracking store, so no command reconciles another store's runs."""
    store = os.environ.get("MLFLOW_TRACKING_URI", "")
    name = hashlib.sha256(store.encode()).hexdigest()[:12]
    folder = Path(os.environ["PREFECT_HOME"]) / "leases" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def exclusive(what: str, refusal: str = "", of_store: bool = False) -> Iterator[Callable[[], None]]:
    """Hold a lock during the body, for example while a database is created.

    Args:
        what: the lock's name.
        refusal: the error message if another process holds the lock; empty: wait for it.
        of_store: whether all checkouts on this machine that use the same SQLite store share the
            lock, and not only the commands of this checkout.

    Yields:
        A function that raises OSError if the lock's file was deleted, since another process can
        then hold the lock as well.

    Raises:
        BlockingIOError: another process holds the lock; the message is `refusal`.
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
            f"{os.environ['PREFECT_HOME']} was deleted while this command ran, so what was "
            "recorded in it is lost. Run the same command again."
        )


def only_retraining(model: str | None) -> contextlib.AbstractContextManager[object]:
    """Let no other run train a registered model during the body; do nothing without a model.

    Raises:
        BlockingIOError: another process on this machine is training it in the same store.
    """
    if not model:
        return contextlib.nullcontext()
    refusal = f"a retraining of model '{model}' is under way. Wait until it has ended."
    return exclusive(f"model-{model}", refusal, of_store=True)


@contextlib.contextmanager
def lease(notify: dict[str, Any] | None = None) -> Iterator[str]:
    """Hold a lease during the body; yield its name. It is deleted if the body succeeds.

    Otherwise its file remains, unlocked, and says how the body ended, so that its runs are
    reconciled: setting their status may have been interrupted or may have failed.

    Args:
        notify: the section of the configuration that this process read, for the process that
            sends the notifications of how the run ended.

    Raises:
        OSError: the folder with the leases was deleted meanwhile.
    """
    name = uuid.uuid4().hex[:12]
    path = _folder() / name
    new = path.parent.parent / name
    with new.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _write(lock, {"notify": notify})
        new.rename(path)  # so that a lease in its place is always locked while its process lives
        _held.append((name, notify))
        try:
            yield name
        except BaseException as error:
            with contextlib.suppress(OSError):  # if the disk is full, its runs become KILLED
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
    """The status and the reason of a run that ended with an exception."""
    if isinstance(error, Exception):
        return {"status": "FAILED", "reason": f"{type(error).__name__}: {error}"}
    return {"status": "KILLED", "reason": "interrupted"}


def held_lease() -> str:
    """The name of this process's lease; a process runs one experiment at a time."""
    return _held[-1][0]


def held_notify() -> dict[str, Any] | None:
    """The `notify` section that was given to this process's lease."""
    return _held[-1][1]


def clear_abandoned(reconcile: Callable[[str, dict[str, Any]], None]) -> None:
    """Reconcile the runs of dead processes, and delete their leases.

    Args:
        reconcile: called with a lease's name and contents while the lease is locked. The contents
            are empty if the process was killed while it wrote them.
    """
    for path in sorted(_folder().iterdir()):
        with contextlib.suppress(FileNotFoundError, BlockingIOError), path.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails if its process is alive
            contents: dict[str, Any] = {}
            with contextlib.suppress(ValueError):
                contents = json.loads(path.read_text())
            reconcile(path.name, contents)
            path.unlink()
