"""Prefect task: everything about a run that MLflow keeps, once the model is there."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from prefect import task
from torch import Tensor, nn

from plumbline.config.schema import Config
from plumbline.data.table import Table
from plumbline.linear.dataset import Dataset
from plumbline.linear.description import describe
from plumbline.linear.sample import SAMPLE_ROWS
from plumbline.registry.drift import DataProfile
from plumbline.training.advice import is_far
from plumbline.training.experiment import Result
from plumbline.training.exported import input_type
from plumbline.training.importance import permutation_importance
from plumbline.training.model import LinearModel
from plumbline.training.plan import optimum_of
from plumbline.training.trained import Trained
from tasks.artifacts import publish
from tasks.coefficients import (
    coefficient_table,
    likelihood_table,
    penalty_table,
    shown_path,
    standard_coefficients,
)
from tasks.pictures.drawing import drawing
from tasks.tracking.artifact import load_back, log_model
from tasks.tracking.models import PROFILE
from tasks.tracking.run import Run

MODEL_FILE_DIGEST = "model_file_digest"  # a tag
MOST_TAGS = 50  # of predictions: MLflow takes 100 in a call; predictions.json has them all
BESIDE = ("probabilities", "interval", "gaussian")  # a prediction, if it has such
# Relative, of the stored model and the trained one. Under autocast parameters are float32.
AGREEMENT = {"float32": 1e-5, "bfloat16": 1e-5, "float64": 1e-12}


@task
def record(run: Run, result: Result) -> str:
    """Log metrics, tags, data set, model and files; load the model back and compare.

    Returns:
        The URI of the model that was loaded back.

    Raises:
        RuntimeError: the stored model does not predict what the trained one does.
    """
    run.losses.close()  # what waits there is part of the record
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with pictures(folder, result):
            model = store_model(run, result)
            log_results(run, result, model=model)
            write_files(folder, result)
            if result.config.registry:
                profile = DataProfile.of(result.data).to_dict()
                (folder / PROFILE).write_text(json.dumps(profile))
        run.log_folder(folder)
    publish(run, f"{result.config.experiment}: {run.name}", result.all_metrics)
    return model


def log_results(
    run: Run, result: Result, params: Mapping[str, str] = MappingProxyType({}), model: str = ""
) -> None:
    """Log the metrics, the predictions, tags and the data set; and params not logged before.

    Args:
        run: of the result.
        result: what was trained.
        params: those not logged before.
        model: the stored model's URI, which the metrics are of; empty if none is stored.
    """
    config, data, trained = result.config, result.data, result.trained
    tags = {
        "data_digest": data.summary.digest,
        "epochs_run": len(trained.losses),
        "sample": f"the plots show {sampled(data)}",
    }
    if trained.exact:
        tags["mae_rows"] = len(data.summary.sample.rows)
    if _is_far(result):
        tags["far_from_optimum"] = "true"
    for each in result.predictions[:MOST_TAGS]:
        if each.probabilities:  # a class is no metric
            tags[f"prediction_{each.label}"] = each.value
    if left_out := optimum_of(data.summary, config.training.bias).equals:
        tags["collinear"] = ", ".join(left_out)
    path = config.data.path if config.data.kind == "table" else None
    links = run.log_dataset(
        config.experiment, data.summary.digest, path, column_types(data), data.summary.rows
    )
    if model:
        links["model_id"] = model.removeprefix("models:/")
    run.log(result.all_metrics, tags, params, links)


def log_model_file(run: Run, config: Config) -> None:
    """Log the file that a module of the user's own is built from, as an artifact of its name, and
    its SHA-256 as a tag; nothing of other models."""
    if config.model.kind != "python":
        return
    file = Path(config.model.file)
    run.client.log_artifact(run.id, str(file))
    run.log(tags={MODEL_FILE_DIGEST: sha256(file.read_bytes()).hexdigest()})


def column_types(data: Dataset) -> dict[str, str]:
    """MLflow's type of each raw column, the target the last."""
    kinds = data.source.columns.kinds if isinstance(data.source, Table) else {}
    types = {name: "boolean" for name, kind in kinds.items() if kind == "boolean"}
    types |= dict.fromkeys(data.encoding.levels, "string")
    types |= dict.fromkeys(data.encoding.dates, "datetime")
    if data.encoding.classes and kinds.get(data.target, "text") == "text":
        types[data.target] = "string"
    names = (*data.encoding.columns, data.target)
    return {name: types.get(name, "double") for name in names}


def pictures(folder: Path, result: Result) -> AbstractContextManager[None]:
    """Draw a run's pictures into folder/plots beside the body; they are there when it ends.

    If the importance of columns is asked for, importance.json has it.
    """
    data, trained = result.data, result.trained
    (folder / "plots").mkdir()
    sample = data.summary.sample
    if not len(sample.rows):  # every held-out row was dropped, or none drawn
        return nullcontext()
    what = {
        "losses": trained.losses,
        "validation_losses": trained.validation_losses,
        "best_epoch": trained.best_epoch,
        "optimum": trained.exact.optimum.mse if trained.exact else None,
        "unconverged": _unconverged(result),
        "target": data.target,
        "told": sampled(data),
        "importance": importance_of(result),
        "coefficients": standard_coefficients(result),
        "path": shown_path(result),
    }
    if what["importance"]:
        (folder / "importance.json").write_text(json.dumps(what["importance"], indent=2))
    points = class_points(trained, data) if data.encoding.classes else _points(trained, data)
    return drawing(what | points, folder / "plots")


def importance_of(result: Result) -> dict[str, Any] | None:
    """The importance of columns as importance.json has it, if it is asked for."""
    explain, config = result.config.prediction.explain, result.config
    if explain is False or (explain == "auto" and config.model.kind == "linear"):
        return None
    found = permutation_importance(result.trained.module, result.data, config.training.seed)
    return found and asdict(found)


def _points(trained: Trained, data: Dataset) -> dict[str, Any]:
    rows = data.summary.sample.rows[:SAMPLE_ROWS]
    features, actual = rows[:, :-1], rows[:, -1]
    return {
        "actual": data.in_own_units(actual).tolist(),
        "predicted": _predicted(trained.module, features),
        "fit": _fit(trained, features[:, 0], data.summary.columns)
        if features.shape[1] == 1
        else None,
    }


@torch.no_grad()
def class_points(trained: Trained, data: Dataset) -> dict[str, Any]:
    """The classes of the sample's rows, and what the model gives each."""
    features = data.summary.sample.rows[:SAMPLE_ROWS, :-1]
    return {
        "classes": data.encoding.classes,
        "observed": data.observed_classes[:SAMPLE_ROWS].tolist(),
        "probabilities": trained.module(features).double().softmax(dim=1).tolist(),
    }


def _fit(trained: Trained, x: Tensor, columns: Sequence[str]) -> dict[str, Any]:
    """The predictions along the one feature of a model, over the range of some rows."""
    name, target = columns
    along = torch.linspace(float(x.min()), float(x.max()), 200, dtype=torch.float64)
    told = "the model"
    if trained.exact:
        slope, line = float(trained.line.weights[0]), trained.line
        target = target if line is trained.module else f"log({target})"
        told = f"{target} = {line.intercept:.4g} + {slope:.4g} · {name}"
    height = _predicted(trained.module, along[:, None])
    return {"name": name, "x": x.tolist(), "along": along.tolist(), "height": height, "told": told}


@torch.no_grad()
def _predicted(module: nn.Module, features: Tensor) -> list[float]:
    return module(features)[:, 0].tolist()


def _is_far(result: Result) -> bool:
    gap = result.metrics.get("optimality_gap", 0.0)
    return is_far(result.trained, result.config.training, gap)


def _unconverged(result: Result) -> str:
    """Why the model is not at its optimum, in a few words; empty if it is, or if it has none."""
    if result.trained.likelihood and result.trained.likelihood.problem:
        return "there is no optimum"
    return "far from the exact optimum" if _is_far(result) else ""


def store_model(run: Run, result: Result) -> str:
    """Log the model, load it back, and hold both against the trained one; returns its URI.

    Raises:
        RuntimeError: the stored model does not predict what the trained one does.
    """
    config, data, trained = result.config, result.data, result.trained
    module = trained.module
    if isinstance(module, LinearModel):
        module = module.layer(config.training)
    named = config.data.kind == "table"
    example = _example(data)
    encoding = replace(data.encoding, half_width=result.metrics.get("interval_half_width"))
    uri = log_model(run, module, encoding, named, example)
    stored = load_back(uri, example, encoding, named)
    with torch.no_grad():
        rows = torch.from_numpy(encoding.encode(example))
        expected = module(rows.to(input_type(module))).numpy()
    scale = max(1e-300, float(np.abs(expected).max()))
    if np.abs(stored - expected).max() > AGREEMENT[config.training.dtype] * scale:
        raise RuntimeError(f"the stored model {uri} does not predict what the trained one does")
    return uri


def _example(data: Dataset) -> pd.DataFrame:
    """Up to three raw rows of the sample, at least two (one is repeated; zeros where none is)."""
    rows = data.summary.sample.rows[:3, :-1]
    if len(rows) < 2:
        rows = torch.cat([rows, rows, torch.zeros(2, rows.shape[1], dtype=rows.dtype)])[:2]
    frame = pd.DataFrame(rows.numpy(), columns=list(data.encoding.features))
    raw = frame[list(data.encoding.numbers)].copy()
    for column, parts in data.encoding.dates.items():
        known = {"year": 2000, "month": 1, "day": 1} | {
            part: frame[f"{column}.{part}"].astype(int) for part in parts if part != "day_of_week"
        }
        raw[column] = pd.to_datetime(pd.DataFrame(known, index=frame.index))
    for column, levels in data.encoding.levels.items():
        indicators = frame[[f"{column}={level}" for level in levels[1:]]].to_numpy()
        places = np.column_stack([~indicators.any(axis=1), indicators]).argmax(axis=1)
        raw[column] = [levels[place] for place in places]
    return raw


def write_files(folder: Path, result: Result) -> None:
    """Write config.yaml, predictions.json; of a table that can be read columns.json; of a linear
    or logistic model coefficients.json; of a penalty penalty_path.csv."""
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
    told = [
        {"input": p.input, "prediction": p.value}
        | {name: found for name in BESIDE if (found := getattr(p, name))}
        for p in result.predictions
    ]
    (folder / "predictions.json").write_text(json.dumps(told, indent=2))


def sampled(data: Dataset) -> str:
    """Which rows the plots show, in words."""
    held_out = data.summary.test.rows
    shown = min(SAMPLE_ROWS, len(data.summary.sample.rows))
    share, rows = ("held-out", held_out) if held_out else ("training", data.summary.train.rows)
    if shown == rows:
        return f"{rows} {share} rows"
    return f"{shown} of {rows} {share} rows (a uniform sample)"
