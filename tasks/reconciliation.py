"""Gives every run of a dead process an accurate status in MLflow and Prefect.

MLflow and Prefect are imported only if there is such a run.
"""

from typing import Any

from tasks.lease import clear_abandoned

REASON = "its process ended without reporting how (killed, or the machine stopped)"


def reconcile() -> None:
    """Correct the status of the runs that dead processes left behind.

    MLflow runs get the status that their process recorded, otherwise KILLED. Flow runs become
    Crashed. A promotion that was decided but not completed is applied.
    """
    clear_abandoned(_reconcile)


def _reconcile(lease: str, contents: dict[str, Any]) -> None:
    from tasks.tracking.registry import reconcile_models
    from tasks.tracking.run import end_runs
    from tasks.tracking.store import check_store

    ended = contents.get("ended") or {"status": "KILLED", "reason": REASON}
    check_store()
    _crash_flow_runs(lease, contents.get("notify"))
    reconcile_models(end_runs(lease, **ended))


def _crash_flow_runs(lease: str, notify: dict[str, Any] | None) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.states import Crashed

    from tasks.notifying import tell

    mine = FlowRunFilter(
        tags={"all_": [lease]}, state={"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}
    )
    with get_client(sync_client=True) as client:
        for flow_run in client.read_flow_runs(flow_run_filter=mine):
            crashed = Crashed(message=REASON)
            client.set_flow_run_state(flow_run.id, crashed, force=True)
            tell(notify, flow_run, crashed)
