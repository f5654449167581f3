"""A run that was begun, could not be recorded to its end, and is taken up again."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException

from plumbline.errors import refuse
from tasks.tracking.run import LEASE_TAG, Run, ending_accurately, open_store, silence_libraries
from tasks.tracking.store import as_store_error, is_absent


@contextmanager
def resumed_run(run_id: str, curves: Mapping[str, Sequence[float]], lease: str) -> Iterator[Run]:
    """The run with the epochs that it lacks, for the body to record the rest; ended truly.

    What the store has already (curves by epoch, metrics by name) is left as it is.

    Raises:
        InputError: the store has no such run. StoreError: the store is away.
    """
    silence_libraries()
    with as_store_error("What was trained is still kept: try again later."):
        client = open_store()
        found = _find(client, run_id)
        info = found.info
        run = Run(client, run_id, info.run_name, info.experiment_id)
        run.known = frozenset(found.data.metrics)
        client.update_run(run_id, status="RUNNING")
        with ending_accurately(run):
            run.log(tags={LEASE_TAG: lease})
            _forget_what_went_wrong(client, found)
            for name, values in curves.items():
                known = {metric.step for metric in client.get_metric_history(run_id, name)}
                run.log_curve(name, values, known)
            yield run


def _find(client: MlflowClient, run_id: str) -> MlflowRun:
    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if not is_absent(error):
            raise
        known = "what a run of this MLflow store left (is MLFLOW_TRACKING_URI the same as then?)"
        raise refuse("FOLDER", known, f"run {run_id}") from None


def _forget_what_went_wrong(client: MlflowClient, run: MlflowRun) -> None:
    """Remove the reason, and models that were begun: the run is to have one, whole."""
    if "reason" in run.data.tags:
        client.delete_tag(run.info.run_id, "reason")
    for model in run.outputs.model_outputs if run.outputs else ():
        client.delete_logged_model(model.model_id)
