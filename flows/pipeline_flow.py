"""The flows: what happens in a run, and in recording one later, in order."""

import os
import shutil

from prefect import flow
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from plumbline.config.schema import Config
from plumbline.linear.dataset import Dataset
from plumbline.training.device import device_of
from plumbline.training.experiment import Result
from plumbline.training.nets import with_budget
from tasks.gates import check_drift, promote
from tasks.kept import kept_unless_recorded, read_kept
from tasks.lease import held_lease
from tasks.modelling import evaluate, predict, train
from tasks.notifying import tell_how_it_ended
from tasks.reading import compress_all, resolved, source_of
from tasks.recording import log_model_file, record
from tasks.tracking.experiment import params_of
from tasks.tracking.run import Run, resumed_run, tracked_run

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
    config = resolved(config)
    device = device_of(config)
    with tracked_run(config, name, device, flow_run.get_id(), held_lease()) as run:
        config, data = _read_rows(run, config, device)
        if config.registry:
            check_drift(run, config, data)
        trained = train(data, config, device, run.losses.add)
        metrics = evaluate(trained, data, config)
        predictions = predict(trained, data, config, metrics)
        result = Result(config, data, trained, metrics, predictions)
        with kept_unless_recorded(run, result):
            model = record(run, result)
        if config.registry:
            promote(run, result, model)
    return run.name


def _read_rows(run: Run, config: Config, device: str) -> tuple[Config, Dataset]:
    """Read the rows. What their number decides of a net, and the file of a module of the user's
    own, are recorded before it trains."""
    data = compress_all(source_of(config.data), config.data, device)
    decided = with_budget(config, data.summary.train.rows)
    if decided is not config:
        run.log(params=params_of(decided, device))
    log_model_file(run, config)
    return decided, data


@flow(name="record", flow_run_name="{folder}")
def record_kept(folder: str) -> str:
    """Record what a folder keeps and remove the folder. Returns the MLflow run's name."""
    run_id, result = read_kept(folder)
    with resumed_run(run_id, result.trained.curves, held_lease()) as run:
        model = record(run, result)
        shutil.rmtree(folder)
        if result.config.registry:
            promote(run, result, model)
    return run.name
