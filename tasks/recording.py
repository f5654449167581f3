"""The Prefect task that records a result in MLflow."""

import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch
import yaml
from prefect import task

from plumbline.config.schema import Config
from plumbline.data.sources import Table
from plumbline.linear.dataset import Dataset
from plumbline.linear.description import describe
from plumbline.registry.drift import DriftReport
from plumbline.training.experiment import Result
from plumbline.training.held_out import predict_held_out
from plumbline.training.model import LinearModel
from plumbline.training.plan import optimum_of
from plumbline.training.prediction import with_interval
from tasks.artifacts import publish
from tasks.coefficients import coefficient_table, likelihood_table, penalty_table
from tasks.drift import drift_plot_data, profile_of
from tasks.parallel_training import device_of_workers, trains_on_workers
from tasks.pictures.shown import describe_sample, is_far_from_optimum, pictures
from tasks.screen import note
from tasks.tracking.artifact import ModelToLog, check_stored, log_model
from tasks.tracking.inputs import log_inputs
from tasks.tracking.models import PROFILE, TEST_PREDICTIONS
from tasks.tracking.run import NOTHING, Run

MODEL_FILE_DIGEST = "model_file_digest"  # a tag
MOST_TAGS = 50  # of predictions; MLflow takes 100 tags per call, and predictions.json has them all
ASSEMBLED = ("year", "month", "day", "hour", "minute")  # the parts that make up a date and time
OPTIONAL = ("probabilities", "interval", "gaussian")  # further values of a prediction
# The largest relative difference between the predictions of the stored and the trained model, by
# dtype; under autocast to bfloat16 the parameters are float32.
AGREEMENT = {"float32": 1e-5, "bfloat16": 1e-5, "float64": 1e-12}


@task
def record(run: Run, result: Result, drift: DriftReport | None = None) -> str:
    """Log metrics, tags, dataset inputs, model and files; load the model to verify its predictions.

    Args:
        run: the MLflow run.
        result: what was trained.
        drift: how its data differs from the champion's, if known.

    Returns:
        The stored model's URI.

    Raises:
        RuntimeError: the stored model does not predict what the trained one does.
    """
    run.losses.close()  # sends the last losses
    shown = drift and drift_plot_data(drift, result)
    moved = shown and shown["predictions"]
    model = log_files(run, result, drift=shown)
    index = {"drift_stability_index_predictions": moved["index"]} if moved else {}
    log_results(run, result, model=model, more=index)
    if result.config.registry:
        run.client.log_dict(run.id, profile_of(result).to_dict(), PROFILE)
    publish(run, f"{result.config.experiment}: {run.name}", result.all_metrics)
    return model


def log_files(
    run: Run, result: Result, with_model: bool = True, drift: dict[str, Any] | None = None
) -> str:
    """Log a run's files, and with its model also plots and predictions of held-out rows.

    Args:
        run: the MLflow run.
        result: what was trained.
        with_model: whether to store the model.
        drift: from `drift_plot_data`, if known.

    Returns:
        The stored model's URI; empty without a model.
    """
    model = ""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_files(folder, result)
        if with_model:
            with pictures(folder, result, drift):
                model = store_model(run, result)
                write_test_predictions(folder, result)
        run.client.log_artifacts(run.id, scratch)
    return model


def log_results(
    run: Run,
    result: Result,
    params: Mapping[str, str] = NOTHING,
    more: Mapping[str, float] = NOTHING,
    model: str = "",
) -> None:
    """Log metrics, predictions, tags and dataset inputs, and params that were not logged before.

    Args:
        run: the MLflow run.
        result: what was trained.
        params: those not logged before.
        more: further metrics.
        model: the URI of the stored model that the metrics are of; empty if none is stored.
    """
    config, data, trained = result.config, result.data, result.trained
    tags = {
        "data_digest": data.summary.digest,
        "epochs_run": len(trained.losses),
        "sample": f"the plots show {describe_sample(data)}",
    }
    if trained.exact:
        for name, sample in data.summary.samples.items():
            tag = "mae_rows" if sample is data.summary.sample else f"{name}_mae_rows"
            tags[tag] = len(sample.rows)
    if is_far_from_optimum(result):
        tags["far_from_optimum"] = "true"
    for each in result.predictions[:MOST_TAGS]:
        if each.probabilities:  # a class cannot be logged as a metric
            tags[f"prediction_{each.label}"] = each.value
    if left_out := optimum_of(data.summary, config.training.bias).equals:
        tags["collinear"] = ", ".join(left_out)
    rows_of, of_model = log_inputs(run, config, data), {}
    metrics = {**result.all_metrics, **more}
    if model:
        of_model = {"model_id": model.removeprefix("models:/")}
        metrics |= _resources()
    run.log(metrics, tags, params, lambda metric: of_model | rows_of(metric))


def _resources() -> dict[str, float]:
    """The processor time and peak memory of this process so far, also on the GPU if it uses one, as
    MLflow system metrics."""
    used = getrusage(RUSAGE_SELF)
    unit = 1 if sys.platform == "darwin" else 1_024  # bytes
    found = {
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_memory_megabytes": used.ru_maxrss * unit / 1e6,
    }
    if torch.cuda.is_initialized():
        found["gpu_peak_memory_megabytes"] = torch.cuda.max_memory_allocated() / 1e6
    return {f"system/{name}": value for name, value in found.items()}


def log_device(run: Run, config: Config, data: Dataset, device: str) -> None:
    """Log the device that a model with `ray.workers` is trained on: theirs, or the command's. A
    run that is resumed keeps what it began with, since the cluster may have changed."""
    if config.ray.workers and "device" not in run.client.get_run(run.id).data.params:
        used = device_of_workers(config) if trains_on_workers(config, data) else device
        run.log(params={"device": used})


def log_model_file(run: Run, config: Config) -> None:
    """Log the file of a user's own module as an artifact, and its SHA-256 as a tag; do nothing for
    other kinds of model."""
    if config.model.kind != "python":
        return
    content = config.model.content
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, Path(config.model.file).name)
        file.write_bytes(content)
        run.client.log_artifact(run.id, str(file))
    run.log(tags={MODEL_FILE_DIGEST: sha256(content).hexdigest()})


def write_test_predictions(folder: Path, result: Result) -> None:
    """Write test_predictions.parquet if rows are held out; print a note if it lacks any of them.

    A file that was deleted or changed since it was read causes a note, not an error, because the
    model is already trained.
    """
    source, most = result.data.source, result.config.prediction.test_rows
    held_out = result.data.summary.test.rows
    if not (held_out and most):
        return
    encoding = with_interval(result.data.encoding, result.metrics)
    module, split = result.trained.module, result.config.data.holding_out
    try:
        rows = predict_held_out(module, source, encoding, split, most)
    except OSError as error:
        note(f"{TEST_PREDICTIONS} is not written: {error}")
        return
    pq.write_table(rows, folder / TEST_PREDICTIONS)
    if len(rows) < held_out:
        note(
            f"{TEST_PREDICTIONS} has the first {len(rows):,} of {held_out:,} held-out rows "
            "(prediction.test_rows)"
        )


def store_model(run: Run, result: Result) -> str:
    """Log the model, load it, and compare it with the trained one; return its URI.

    Raises:
        RuntimeError: the stored model does not predict what the trained one does.
    """
    config, module = result.config, result.trained.module
    if isinstance(module, LinearModel):
        module = module.layer(config.training)
    encoding = with_interval(result.data.encoding, result.metrics)
    named, example = config.data.kind == "table", example_rows(result.data)
    trained = ModelToLog(module, encoding, named, example)
    uri = log_model(run, trained)
    check_stored(uri, trained, AGREEMENT[config.training.dtype])
    return uri


def example_rows(data: Dataset) -> pd.DataFrame:
    """Two or three raw rows of the sample; a single row is repeated, and the training rows' means
    replace none."""
    rows = data.summary.sample.rows[:3, :-1]
    if len(rows) < 2:
        means = data.summary.train.means[None, :-1]
        rows = torch.cat([rows, rows, means, means])[:2]
    frame = pd.DataFrame(rows.numpy(), columns=list(data.encoding.features))
    raw = frame[list(data.encoding.numbers)].copy()
    for column, parts in data.encoding.dates.items():
        known = {"year": 2000, "month": 1, "day": 1} | {
            part: frame[f"{column}.{part}"].astype(int) for part in parts if part in ASSEMBLED
        }
        raw[column] = pd.to_datetime(pd.DataFrame(known, index=frame.index))
    for column, levels in data.encoding.levels.items():
        indicators = frame[[f"{column}={level}" for level in levels[1:]]].to_numpy()
        places = np.column_stack([~indicators.any(axis=1), indicators]).argmax(axis=1)
        raw[column] = [levels[place] for place in places]
    return raw


def write_files(folder: Path, result: Result) -> None:
    """Write config.yaml and predictions.json; for a table columns.json; for a linear or logistic
    model coefficients.json; with a penalty penalty_path.csv."""
    text = yaml.safe_dump(result.config.model_dump(), sort_keys=False)
    (folder / "config.yaml").write_text(text)
    if isinstance(result.data.source, Table):
        columns = [asdict(each) for each in describe(result.data, result.config.data)]
        (folder / "columns.json").write_text(json.dumps(columns, indent=2))
    trained = result.trained
    if trained.exact or trained.likelihood:
        exact = trained.exact is not None
        coefficients = coefficient_table(trained) if exact else likelihood_table(result)
        (folder / "coefficients.json").write_text(json.dumps(coefficients, indent=2))
    if trained.exact and trained.exact.penalized:
        table = penalty_table(trained.exact.penalized.path)
        table.to_csv(folder / "penalty_path.csv", index=False)
    records = [
        {"input": p.input, "prediction": p.value}
        | {name: found for name in OPTIONAL if (found := getattr(p, name))}
        for p in result.predictions
    ]
    (folder / "predictions.json").write_text(json.dumps(records, indent=2))
