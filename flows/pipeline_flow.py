"""The flow: what happens in a run, in order."""

import os

from prefect import flow, tags
from prefect.runtime import flow_run
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.task_runners import ThreadPoolTaskRunner

from flows.support.ray import on_cluster
from plumbline.config.schema import Config
from plumbline.training.device import device_of
from plumbline.training.experiment import Result
from tasks.compression import compress_all
from tasks.gates import check_drift, promote
from tasks.kept import discard_half_written, kept_unless_recorded
from tasks.lease import held_lease, lease
from tasks.modelling import evaluate, predict, train
from tasks.notifying import tell_how_it_ended
from tasks.reading import source_of
from tasks.reconciliation import reconcile
from tasks.recording import record
from tasks.tracking.run import tracked_run
from tasks.tracking.store import check_store

WORKERS = os.cpu_count() or 1


@flow(
    name="pipeline",
    flow_run_name="{config.experiment}: {name}",
    task_runner=ThreadPoolTaskRunner(WORKERS),
    on_completion=[tell_how_it_ended],
    on_failure=[tell_how_it_ended],
    on_crashed=[tell_how_it_ended],
)
def pipeline(config: Config, name: str = "retraining") -> str:
    """Train one experiment and record it. Returns the MLflow run's name."""
    device = device_of(config)
    with tracked_run(config, name, device, flow_run.get_id(), held_lease()) as run:
        source = source_of(config.data)
        data = compress_all(source, config.data, device)
        if config.registry:
            check_drift(run, config, data)
        trained = train(data, config, device, run.losses.add)
        metrics = evaluate(trained, data, config)
        predictions = predict(trained, data, config.prediction.inputs)
        result = Result(config, data, trained, metrics, predictions)
        with kept_unless_recorded(run, result):
            model = record(run, result)
        if config.registry:
            promote(run, result, model)
    return run.name


def run(config: Config, name: str) -> None:
    """Run the flow here under a name and say where to look."""
    check_store()
    reconcile()
    discard_half_written()
    quick = temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})
    notify = config.model_dump(mode="json")["notify"]
    with lease(notify) as lease_name, tags(lease_name), quick:
        recorded = on_cluster(pipeline)(config, name)
    say_where(recorded, config.experiment)


def say_where(recorded: str, experiment: str) -> None:
    """Where to look at a run."""
    print(f"Recorded as run '{recorded}' of experiment '{experiment}'. To look at it: make ui")
