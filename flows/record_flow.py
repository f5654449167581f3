"""The flow that records what an earlier run could not."""

from prefect import flow, tags
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from tasks.gates import promote
from tasks.kept import take_up
from tasks.lease import held_lease, lease, only_retraining
from tasks.reconciliation import reconcile
from tasks.recording import record
from tasks.tracking.store import check_store
from tasks.tracking.taken_up import resumed_run


@flow(name="record", flow_run_name="{folder}")
def record_kept(folder: str) -> str:
    """Record what a folder keeps and remove the folder. Returns the MLflow run's name."""
    kept = take_up(folder)
    with resumed_run(kept.run_id, kept.result.trained.losses, held_lease()) as run:
        model = record(run, kept.result)
        kept.discard()
        if kept.result.config.registry:
            promote(run, kept.result, model)
    return run.name


def run(folder: str) -> None:
    """Run the flow here and say where to look."""
    check_store()
    reconcile()
    registry = take_up(folder).result.config.registry
    quick = temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})
    with only_retraining(registry and registry.model), lease() as name, tags(name), quick:
        recorded = record_kept(folder)
    print(f"Recorded as run '{recorded}'. To look at it: make ui")
