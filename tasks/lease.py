"""Which runs are alive: a lock that the operating system drops when its process ends.

A command takes a lease before its run exists anywhere and marks the run with it in Prefect and
MLflow. A lease whose lock can be taken belongs to a dead process; its runs are set right.
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

REASON = "its process ended without a word (killed, or the machine stopped)"
_held: list[tuple[str, dict[str, Any]]] = []  # name, and what is written in it


def _folder() -> Path:
    """Where the leases of this MLflow store are: those of another are no business of a command
    that does not talk to it."""
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


@contextlib.contextmanager
def only_retraining(model: str | None) -> Iterator[None]:
    """Be the only run for a registered model; None is no model and excludes nobody.

    Raises:
        BlockingIOError: another process on this machine trains it in the same store just now.
    """
    if not model:
        yield
        return
    refusal = f"a retraining of model '{model}' is under way. Wait until it has ended."
    with exclusive(f"model-{model}", refusal, of_store=True):
        yield


@contextlib.contextmanager
def lease(notify: dict[str, Any] | None = None) -> Iterator[str]:
    """Hold a lease; yields its name. It is gone when the body ends well.

    Raises OSError if the folder that it is in was deleted meanwhile.

    Otherwise it stays behind, unlocked, so that settle looks once more: whatever was setting things
    right may have been interrupted, or have met a server that does not answer.

    Args:
        notify: the section of the configuration that this process read, for whoever has to tell
            how the run ended.
    """
    word = {"notify": notify}
    name = uuid.uuid4().hex[:12]
    path = _folder() / name
    new = path.parent.parent / name
    with new.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        json.dump(word, lock)
        lock.flush()
        new.rename(path)  # settle never meets a living lease that is not locked yet
        _held.append((name, word))
        try:
            yield name
        finally:
            _held.remove((name, word))
        _check_there(lock, path)
        path.unlink()


def held_lease() -> str:
    """The name of the lease that this process holds; a process runs one experiment at a time."""
    return _held[-1][0]


def held_notify() -> dict[str, Any] | None:
    """Whom to tell of the run under the lease that this process holds."""
    return _held[-1][1]["notify"]


def leave_word(status: str, reason: str) -> None:
    """Say in the lease how its runs ended, for settle to tell a store that is away just now."""
    if _held:
        name, word = _held[-1]
        word["ended"] = {"status": status, "reason": reason}
        with contextlib.suppress(OSError):  # the disk is full: it is KILLED then
            (_folder() / name).write_text(json.dumps(word))


def settle() -> None:
    """Set right what dead processes left.

    MLflow runs become what they left word of, else KILLED; Prefect's flow runs Crashed; and a
    promotion that had been decided is carried out.
    """
    for path in sorted(_folder().iterdir()):
        with contextlib.suppress(FileNotFoundError), path.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # its process lives
            if path.exists():
                _settle(path.name, json.loads(path.read_text() or "{}"))
                path.unlink()


def _settle(name: str, word: dict[str, Any]) -> None:
    from tasks.tracking.registry import settle_models
    from tasks.tracking.run import end_runs
    from tasks.tracking.store import check_store

    ended = word.get("ended") or {"status": "KILLED", "reason": REASON}
    check_store()
    _crash_flow_runs(name, word.get("notify"))
    settle_models(end_runs(name, **ended))


def _crash_flow_runs(name: str, notify: dict[str, Any] | None) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.states import Crashed

    from tasks.notifying import tell

    mine = FlowRunFilter(
        tags={"all_": [name]}, state={"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}
    )
    with get_client(sync_client=True) as client:
        for flow_run in client.read_flow_runs(flow_run_filter=mine):
            crashed = Crashed(message=REASON)
            client.set_flow_run_state(flow_run.id, crashed, force=True)
            tell(notify, flow_run, crashed)
