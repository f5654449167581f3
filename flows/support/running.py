"""Running a flow under a lease, which says that its process is alive."""

from typing import Any

from prefect import Flow, tags
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from flows.support.ray import on_cluster
from tasks.lease import lease
from tasks.reconciliation import reconcile
from tasks.tracking.store import check_store


def run_leased(flow: Flow, *arguments: Any, notify: dict[str, Any] | None = None) -> Any:
    """Run a flow in this process, on the cluster that it is connected to, and return its result.

    What dead processes left in the store is reconciled first.

    Args:
        flow: what to run.
        arguments: the flow's.
        notify: the section of the configuration, for whoever has to tell how a killed run ended.
    """
    check_store()
    reconcile()
    quick = temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})  # the lease says it
    with lease(notify) as name, tags(name), quick:
        return on_cluster(flow)(*arguments)
