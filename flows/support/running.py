"""Running a flow: the servers it needs, and the lease that shows that its process is alive."""

import contextlib
import gc
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flows.support.ray import cluster, connected_to, on_cluster
from flows.support.server import prefect_server
from plumbline.config.running import RunsOn

if TYPE_CHECKING:
    from prefect import Flow

_turn = threading.RLock()  # re-entrant: a flow may call the pipeline


@contextlib.contextmanager
def servers(wanted: RunsOn) -> Iterator[None]:
    """While the body runs, provide a Prefect server and, with `runner: ray`, a Ray cluster.

    Threads take turns: the environment names one server, and a process has one lease at a time.

    Raises:
        InputError: the cluster cannot be used.
        OSError: a server or the cluster does not answer.
    """
    server = prefect_server(import_the_slow_parts)
    with _turn, cluster(wanted) as found, server, connected_to(found):
        yield


def import_the_slow_parts() -> None:
    """Import slow modules while the server starts; what is needed last, while the flow runs."""
    gc.disable()  # it would traverse a million new objects again and again
    try:
        import flows.pipeline_flow  # noqa: F401
    except BaseException:
        gc.enable()
        raise
    threading.Thread(target=_import_what_is_needed_later, daemon=True).start()


def _import_what_is_needed_later() -> None:
    """Import what torch and mlflow would import on first use, a second each, during the run."""
    try:
        import torch._dynamo  # noqa: F401

        gc.freeze()
    finally:
        gc.enable()


def run_leased(flow: "Flow", *arguments: Any, notify: dict[str, Any] | None = None) -> Any:
    """Run a flow in this process, on the cluster that it is connected to, and return its result.

    Runs that dead processes left in the store are reconciled first.

    Args:
        flow: what to run.
        arguments: the flow's.
        notify: the section of the configuration, for the process that reports a killed run.
    """
    from prefect import tags
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from tasks.lease import lease
    from tasks.reconciliation import reconcile
    from tasks.tracking.store import check_store

    check_store()
    reconcile()
    # the lease replaces heartbeats
    quick = temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})
    with lease(notify) as name, tags(name), quick:
        return on_cluster(flow)(*arguments)
