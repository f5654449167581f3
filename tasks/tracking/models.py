"""Models that are stored already: finding one, and predicting with it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import mlflow.artifacts
import mlflow.pyfunc
import numpy as np
import pyarrow as pa
from mlflow import MlflowClient
from mlflow.models.utils import SERVING_INPUT_FILENAME

from regression.encoding import Encoding
from regression.errors import InputError, refuse
from regression.fitted import Fitted
from regression.scoring import Predict
from tasks.tracking.pages import every
from tasks.tracking.registry import CHAMPION, registered_names
from tasks.tracking.run import quiet

Loaded = TypeVar("Loaded")


def latest_model() -> str:
    """The newest model of a run that finished, as runs:/ID/model.

    Raises:
        InputError: no run has finished yet.
    """
    quiet()
    client = MlflowClient()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    newest = [{"field_name": "creation_timestamp", "ascending": False}]
    for model in every(
        lambda token: client.search_logged_models(experiments, order_by=newest, page_token=token)
    ):
        if client.get_run(model.source_run_id).info.status == "FINISHED":
            return f"runs:/{model.source_run_id}/model"
    raise InputError(
        "MODEL must name a model, because no run has finished here yet. "
        "Run make run-pipeline first, or give MODEL=runs:/ID/model."
    )


def default_model() -> str:
    """The champion of the only registered model; otherwise the latest run's model.

    Raises:
        InputError: there is neither.
    """
    names = registered_names()
    if len(names) == 1 and CHAMPION in MlflowClient().get_registered_model(names[0]).aliases:
        return f"models:/{names[0]}@{CHAMPION}"
    return latest_model()


def load_predictor(uri: str) -> tuple[Encoding, Predict]:
    """A stored model's columns and a function from rows of them to predictions.

    Raises:
        InputError: there is no such model, or it is not one of this project's.
    """
    model = _load(uri)

    def predict(batch: pa.RecordBatch) -> np.ndarray:
        return model.predict(None, batch.to_pandas()).ravel()

    return _encoding(model), predict


def load_fitted(uri: str, target: str = "", where: str = "MODEL") -> Fitted:
    """A stored model's numbers, read the way that everyone loads it.

    Args:
        uri: models:/ID, models:/NAME@ALIAS or runs:/ID/model.
        target: the column it predicts, where that is known.
        where: what an error says is wrong.

    Raises:
        InputError: as load_predictor.
    """
    model = _load(uri, where)
    state = {name: values.double() for name, values in model.module.state_dict().items()}
    intercept = float(state["bias"]) if "bias" in state else 0.0
    return Fitted(target, _encoding(model), intercept, state["weight"].flatten())


def _encoding(model: Any) -> Encoding:
    levels = {column: tuple(found) for column, found in model.levels.items()}
    return Encoding(tuple(model.numeric), levels)


def load_example(uri: str) -> dict[str, Any]:
    """The first rows that the model was logged with, as the body of a request to MLflow's server.

    Raises:
        InputError: as load_predictor.
    """
    _load(uri)  # a server would end without a word

    def load() -> dict[str, Any]:
        folder = Path(mlflow.artifacts.download_artifacts(own_uri(uri)))
        return json.loads((folder / SERVING_INPUT_FILENAME).read_text())

    return _try(uri, load)


def own_uri(uri: str) -> str:
    """models:/ID where runs:/ID/NAME names a model, others as they are.

    By the run's name MLflow looks among the run's files first, and asks a server for minutes for
    what is not there.

    Raises:
        LookupError: the run has no such model. MlflowException: there is no such run.
    """
    if not uri.startswith("runs:/"):
        return uri
    client = MlflowClient()
    run_id, _, name = uri.removeprefix("runs:/").strip("/").partition("/")
    outputs = client.get_run(run_id).outputs
    for output in outputs.model_outputs if outputs else ():
        if client.get_logged_model(output.model_id).name == name:
            return f"models:/{output.model_id}"
    raise LookupError(f"run {run_id} has no model '{name}'")


def _load(uri: str, where: str = "MODEL") -> Any:
    """The python model of an artifact: LinearModel of tasks/tracking/served_model.py."""

    def load() -> Any:
        model = mlflow.pyfunc.load_model(own_uri(uri)).unwrap_python_model()
        if not hasattr(model, "levels"):
            raise TypeError("it was logged by something else")
        return model

    return _try(uri, load, where)


def _try(uri: str, load: Callable[[], Loaded], where: str = "MODEL") -> Loaded:
    quiet()
    try:
        return load()
    except Exception as error:  # a damaged artifact fails in as many ways as there are bytes
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise refuse(where, f"a model of this project ({reason})", uri) from None
