"""Models that are stored already: finding one, and predicting with it."""

import mlflow.pyfunc
import pyarrow as pa
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from regression.columns import Kind
from regression.errors import InputError, refuse
from regression.scoring import Predict
from tasks.tracking.run import quiet


def latest_model() -> str:
    """The model of the run that finished last, as runs:/ID/model.

    Raises:
        InputError: no run has finished yet.
    """
    quiet()
    client = MlflowClient()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(
        experiments,
        "attributes.status = 'FINISHED'",
        order_by=["attributes.end_time DESC"],
        max_results=1,
    )
    if not found:
        raise InputError(
            "MODEL must name a model, because no run has finished here yet. "
            "Run make run-pipeline first, or give MODEL=runs:/ID/model."
        )
    return f"runs:/{found[0].info.run_id}/model"


def load_predictor(uri: str) -> tuple[dict[str, Kind], Predict]:
    """A stored model's columns and a function from rows of them to predictions.

    Raises:
        InputError: there is no such model, or it is not one of this project's.
    """
    quiet()
    try:
        model = mlflow.pyfunc.load_model(uri).unwrap_python_model()
        numeric, levels = model.numeric, model.levels
    except (MlflowException, OSError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise refuse("MODEL", f"a model of this project ({reason})", uri) from None

    def predict(batch: pa.RecordBatch):
        try:
            return model.predict(None, batch.to_pandas()).ravel()
        except MlflowException as error:
            raise InputError(error.message) from None

    return {**dict.fromkeys(numeric, "number"), **dict.fromkeys(levels, "text")}, predict
