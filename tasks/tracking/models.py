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
    """The newest model of a run that finished, as runs:/ID/model.

    Raises:
        InputError: no run has finished yet.
    """
    quiet()
    client = MlflowClient()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    newest = [{"field_name": "creation_timestamp", "ascending": False}]
    token = None
    while True:
        page = client.search_logged_models(experiments, order_by=newest, page_token=token)
        for model in page:
            if client.get_run(model.source_run_id).info.status == "FINISHED":
                return f"runs:/{model.source_run_id}/model"
        token = page.token
        if not token:
            raise InputError(
                "MODEL must name a model, because no run has finished here yet. "
                "Run make run-pipeline first, or give MODEL=runs:/ID/model."
            )


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
