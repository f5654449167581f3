"""The flow that records what an earlier run could not."""

from prefect import flow

from tasks.gates import promote
from tasks.kept import take_up
from tasks.lease import held_lease
from tasks.recording import record
from tasks.tracking.taken_up import resumed_run


@flow(name="record", flow_run_name="{folder}")
def record_kept(folder: str) -> str:
    """Record what a folder keeps and remove the folder. Returns the MLflow run's name."""
    kept = take_up(folder)
    with resumed_run(kept.run_id, kept.result.trained.curves, held_lease()) as run:
        model = record(run, kept.result)
        kept.discard()
        if kept.result.config.registry:
            promote(run, kept.result, model)
    return run.name
