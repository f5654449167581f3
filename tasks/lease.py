"""Which runs are alive: a lock that the operating system drops when its process ends.

A command takes a lease before its run exists anywhere and marks the run with it in Prefect and
MLflow. A lease whose lock can be taken belongs to a dead process; its runs are set right.
"""

import contextlib
import fcntl
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

REASON = "its process ended without a word (killed, or the machine stopped)"


def _folder() -> Path:
    folder = Path(os.environ["PREFECT_HOME"]) / "leases"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def exclusive(what: str) -> Iterator[None]:
    """Hold a lock that all commands of this checkout share, such as while a database is made."""
    with (_folder().parent / f"{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def lease() -> Iterator[str]:
    """Hold a lease; yields its name. It is gone when the body ends well.

    After an interruption it stays behind, unlocked, so that settle looks once more: a second
    Ctrl-C can interrupt whatever was setting things right.
    """
    name = uuid.uuid4().hex[:12]
    path = _folder() / name
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield name
        except Exception:
            path.unlink()
            raise
        path.unlink()


def settle() -> None:
    """Set right what dead processes left.

    MLflow runs become KILLED, Prefect's flow runs Crashed, and a promotion that had been decided is
    carried out.
    """
    for path in sorted(_folder().iterdir()):
        with contextlib.suppress(FileNotFoundError), path.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # its process lives
            if path.exists():
                _settle(path.name)
                path.unlink()


def _settle(name: str) -> None:
    from tasks.tracking.registry import settle_models
    from tasks.tracking.run import kill_runs

    settle_models(kill_runs(name, REASON))
    _crash_flow_runs(name)


def _crash_flow_runs(name: str) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.states import Crashed

    mine = FlowRunFilter(
        tags={"all_": [name]}, state={"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}
    )
    with get_client(sync_client=True) as client:
        for flow_run in client.read_flow_runs(flow_run_filter=mine):
            client.set_flow_run_state(flow_run.id, Crashed(message=REASON), force=True)
