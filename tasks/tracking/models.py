"""Finds and loads stored models, and the profiles of the data they were trained on."""

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import mlflow.artifacts
import mlflow.pyfunc
import numpy as np
import torch
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.models.utils import SERVING_INPUT_FILENAME
from mlflow.pyfunc import PyFuncModel
from torch import nn

from plumbline.data.encoding import Encoding
from plumbline.errors import InputError, refuse
from plumbline.registry.drift import DataProfile
from plumbline.training.batch_prediction import Predict
from plumbline.training.model import LinearModel
from plumbline.training.stored import StoredModel
from tasks.tracking.artifact import SERVED
from tasks.tracking.registry import CHAMPION, registered_names
from tasks.tracking.run import LEASE_TAG, runs_by_id
from tasks.tracking.store import StoreError, as_store_error, if_there, is_absent

PROFILE = "data.json"  # an artifact of a registered run: its data's profile
TEST_PREDICTIONS = "test_predictions.parquet"  # an artifact: held-out rows and their predictions
NAMED = re.compile(r"runs:/[^/]+/.+|models:/(m-\w+|[^/@]+[/@][^/@]+)")


class DamagedModelError(InputError):
    """The files of a model were downloaded but cannot be read; `reason` says why."""

    def __init__(self, where: str, uri: str, reason: str) -> None:
        super().__init__(str(refuse(where, f"a model of this project ({reason})", uri)))
        self.reason = reason


def latest_model() -> str:
    """The URI of the newest model of a finished run of this project: runs:/ID/model.

    Runs that were deleted and models that other programs logged are passed over.

    Raises:
        InputError: no run has finished yet.
    """
    client = MlflowClient()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    newest = [{"field_name": "creation_timestamp", "ascending": False}]
    for model in mlflow.search_logged_models(experiments, order_by=newest, output_format="list"):
        run = model.source_run_id and if_there(client.get_run, model.source_run_id)
        ended = run and (run.info.status, run.info.lifecycle_stage)
        if ended == ("FINISHED", "active") and LEASE_TAG in run.data.tags:
            return f"runs:/{run.info.run_id}/model"
    raise InputError(
        "MODEL must name a model, because no run has finished here yet. "
        "Run make run-pipeline first, or give MODEL=runs:/ID/model."
    )


def default_model() -> str:
    """The URI of the champion of the only registered model; otherwise that of `latest_model`.

    Raises:
        InputError: there is no such champion, and no run has finished yet.
    """
    names = registered_names()
    if len(names) == 1 and CHAMPION in MlflowClient().get_registered_model(names[0]).aliases:
        return f"models:/{names[0]}@{CHAMPION}"
    return latest_model()


def load_predictor(uri: str) -> tuple[Encoding, Predict]:
    """Load a stored model's encoding and a function that predicts with it.

    The function maps features, (n, d) float64, to predictions, (n,), or to the probabilities of K
    classes, (n, K).

    Raises:
        InputError: there is no such model, or this project did not log it.
        DamagedModelError: its files cannot be read.
        StoreError: its files cannot be downloaded.
    """
    with _files_of(uri) as folder:
        model = _python_model(folder)
        encoding = encoding_of(model)

    def predict(features: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            predicted = model.module(torch.from_numpy(features).to(model.dtype))
        return (predicted.double().softmax(dim=1) if encoding.classes else predicted[:, 0]).numpy()

    return encoding, predict


def load_stored(uri: str, target: str = "", where: str = "MODEL") -> StoredModel:
    """Load a stored model with mlflow.pyfunc, as any user of it would.

    Args:
        uri: models:/ID, models:/NAME@ALIAS or runs:/ID/model.
        target: the column it predicts; empty if unknown.
        where: the variable, key or model that an error message names.

    Raises:
        As load_predictor.
    """
    with _files_of(uri, where) as folder:
        model = _python_model(folder)
        encoding = encoding_of(model)
        return StoredModel(target, encoding, _raw_module(model, encoding))


def load_version(uri: str, where: str = "training.start") -> StoredModel:
    """Load the version models:/NAME/NUMBER with the settings that it was trained with.

    Raises:
        As load_predictor.
    """
    name, _, number = uri.removeprefix("models:/").rpartition("/")
    client = MlflowClient()
    with as_store_error():
        version = if_there(client.get_model_version, name, number)
        run = version and if_there(client.get_run, version.run_id)
    target = version.tags.get("target", "") if version else ""
    stored = load_stored(uri, target, where)
    return replace(stored, settings=run.data.params if run else {})


def _raw_module(model: Any, encoding: Encoding) -> nn.Module:
    """The module that maps raw features, (n, d) float64, to (n, 1) or the logits of K classes: a
    LinearModel if it has only weights and a bias, otherwise the stored module."""
    features, outputs = len(encoding.features), len(encoding.classes) or 1
    state = {name: values.double() for name, values in model.module.state_dict().items()}
    if not encoding.classes and set(state) <= {"weight", "bias"}:
        weights = state["weight"].flatten()
        if len(weights) != features:
            raise ValueError(f"{len(weights)} weights for {features} features")
        return LinearModel(float(state.get("bias", 0.0)), weights)
    found = model.module(torch.zeros(2, features, dtype=model.dtype)).shape
    if found != (2, outputs):
        raise ValueError(f"{list(found)} outputs for 2 rows")
    return model.module


def encoding_of(model: Any) -> Encoding:
    """The stored encoding; in the oldest models its fields are attributes of the model itself."""
    return Encoding.from_dict(vars(getattr(model, "encoding", model)))


def load_served(uri: str) -> tuple[PyFuncModel, dict[str, Any]]:
    """Load a model as MLflow serves it, and its input example as the body of a request.

    Raises:
        As load_predictor.
    """
    with _files_of(uri) as folder:
        return _pyfunc(folder), json.loads((folder / SERVING_INPUT_FILENAME).read_text())


def exact_uri(uri: str) -> str:
    """Resolve a URI to the model that it names now.

    An alias becomes models:/NAME/VERSION, and runs:/ID/NAME becomes models:/ID, where the beginning
    of the run's id is enough. Other URIs are returned unchanged.

    Raises:
        InputError: there is no such model.
        StoreError: the store failed.
    """
    with _as_named(uri):
        return _resolved(uri)


def _resolved(uri: str) -> str:
    """Do the work of `exact_uri`.

    Given runs:/ID/NAME, MLflow itself would first look for NAME among the run's files, and retry
    for minutes if a server does not have it.

    Raises:
        LookupError: the run has no such model. MlflowException: there is no such run or alias.
    """
    client = MlflowClient()
    name, at, alias = uri.removeprefix("models:/").rpartition("@")
    if uri.startswith("models:/") and at:
        return f"models:/{name}/{client.get_model_version_by_alias(name, alias).version}"
    if not uri.startswith("runs:/"):
        return uri
    run_id, _, name = uri.removeprefix("runs:/").strip("/").partition("/")
    begun = [run.info.run_id for run in runs_by_id(run_id)] if len(run_id) < 32 else []
    if len(begun) > 1:
        raise LookupError(f"several runs have such an id: {', '.join(begun)}")
    run_id = begun[0] if begun else run_id
    outputs = client.get_run(run_id).outputs
    for output in outputs.model_outputs if outputs else ():
        if client.get_logged_model(output.model_id).name == name:
            return f"models:/{output.model_id}"
    raise LookupError(f"run {run_id} has no model '{name}'")


def _python_model(folder: Path) -> Any:
    """The python model in an artifact: ServedModel of tasks/tracking/served_model.py."""
    return _pyfunc(folder).unwrap_python_model()


def _pyfunc(folder: Path) -> PyFuncModel:
    code = Model.load(str(folder)).flavors.get("python_function", {}).get("model_code_path", "")
    if Path(code).name != SERVED.name:  # loading another one would run its code, or ask for pickle
        raise TypeError("it was not logged by this project")
    return mlflow.pyfunc.load_model(str(folder))


@contextmanager
def _files_of(uri: str, where: str = "MODEL") -> Iterator[Path]:
    """A folder with a copy of a model's files, for the body that reads them. Raises: as
    load_predictor; an error of the body means that they are damaged."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = _fetch(uri, scratch, where)
        try:
            yield folder
        except Exception as error:
            temporary = isinstance(error, (OSError, MemoryError))  # of this machine, not the model
            if temporary and not isinstance(error, FileNotFoundError):
                raise
            reason = (str(error).replace(f"{folder}/", "") or type(error).__name__).splitlines()[0]
            raise DamagedModelError(where, uri, reason[:200].rstrip(".")) from None


def _fetch(uri: str, scratch: str, where: str) -> Path:
    """Download a model's files. Raises: InputError and StoreError as load_predictor."""
    with _as_named(uri, where):
        folder = Path(mlflow.artifacts.download_artifacts(_resolved(uri), dst_path=scratch))
    if folder.is_dir() and not any(folder.iterdir()):
        raise StoreError(
            f"the store has no file of {uri}. Check that the disk or bucket with its artifacts can "
            "be reached; if the files were deleted, delete the model's version, too."
        )
    return folder


@contextmanager
def _as_named(uri: str, where: str = "MODEL") -> Iterator[None]:
    """Turn an error that MLflow raises about a URI in the body into one of one line: InputError if
    the URI names no model, StoreError if the store failed."""
    with as_store_error():
        try:
            yield
        except (LookupError, MlflowException) as error:
            if isinstance(error, MlflowException) and NAMED.fullmatch(uri) and not is_absent(error):
                raise
            reason = str(error).splitlines()[0].rstrip(".")
            if not uri.startswith(("models:/", "runs:/")):
                reason = "named as runs:/ID/model or models:/NAME@ALIAS"
            raise refuse(where, f"a model of this project ({reason})", uri) from None


def load_profile(run_id: str) -> DataProfile | None:
    """Load the profile of a run's data; None if it is missing or damaged.

    Raises:
        MlflowException, OSError: the store failed.
    """
    files = if_there(MlflowClient().list_artifacts, run_id) or ()  # None if the run was deleted
    if PROFILE not in [file.path for file in files]:
        return None  # downloading a file that a server does not have takes minutes
    with tempfile.TemporaryDirectory() as scratch:
        path = mlflow.artifacts.download_artifacts(
            run_id=run_id, artifact_path=PROFILE, dst_path=scratch
        )
        text = Path(path).read_bytes()
    try:
        return DataProfile.from_dict(json.loads(text))
    except (ValueError, KeyError, TypeError):
        return None
