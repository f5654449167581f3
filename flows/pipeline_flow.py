"""The Prefect flow of one run: its tasks, in order."""

import os

from prefect import flow
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from plumbline.config.schema import Config
from plumbline.data.blocks import Source
from plumbline.linear.dataset import Dataset
from plumbline.training.device import device_of
from plumbline.training.experiment import Result
from plumbline.training.nets import with_budget
from tasks.artifacts import name_flow_run
from tasks.drift import check_drift
from tasks.gates import promote
from tasks.lease import held_lease
from tasks.modelling import evaluate, find_start, predict, train
from tasks.notifying import tell_how_it_ended
from tasks.reading import compress_all, resolved, source_of
from tasks.recording import log_device, log_model_file, record
from tasks.resuming import resumable
from tasks.tracking.experiment import params_of
from tasks.tracking.run import Run, tracked_run


@flow(
    name="pipeline",
    flow_run_name="{config.experiment}: {name}",
    task_runner=ThreadPoolTaskRunner(os.cpu_count() or 1),
    on_completion=[tell_how_it_ended],
    on_failure=[tell_how_it_ended],
    on_crashed=[tell_how_it_ended],
)
def pipeline(config: Config, name: str = "retraining", resumed: str | None = None) -> str:
    """Train one experiment and record it. Returns the MLflow run's name.

    Args:
        config: the experiment.
        name: the run's name within its experiment.
        resumed: the MLflow id of an interrupted run of the same experiment to resume.
    """
    asked, config = config, resolved(config)
    device = device_of(config)
    with tracked_run(config, name, device, flow_run.get_id(), held_lease(), resumed) as run:
        source = source_of(config.data)
        with resumable(run, asked, name, source) as checkpoint:
            config, data = _read_rows(run, config, source, device)
            drift = check_drift(run, config, data) if config.registry else None
            start = find_start(run, config, data)
            trained = train(data, config, device, run.losses.add, checkpoint, start)
            metrics = evaluate(trained, data, config)
            result = Result(config, data, trained, metrics, predict(trained, data, config, metrics))
            model = record(run, result, drift)
        if config.registry:
            promote(run, result, model)
    return run.name


def _read_rows(run: Run, config: Config, source: Source, device: str) -> tuple[Config, Dataset]:
    """Read the rows. Record before training what depends on them (the settings of a net, the device
    of workers), and the file of a user's module. Name the flow run after the MLflow run."""
    name_flow_run(f"{config.experiment}: {run.name}")
    data = compress_all(source, config.data, device)
    decided = with_budget(config, data.summary.train.rows)
    if decided is not config:
        run.log(params=params_of(decided, device))
    log_device(run, decided, data, device)
    log_model_file(run, config)
    return decided, data
