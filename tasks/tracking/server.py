"""MLflow's own server and user interface, as an application to be guarded."""

import os
import warnings
from functools import cache
from typing import Any

ARTIFACTS = "mlflow-artifacts:/"  # of experiments that are made in the user interface


@cache
def mlflow_app() -> Any:
    """MLflow's ASGI application on the store that MLFLOW_TRACKING_URI names, as `mlflow ui` has it.

    `mlflow ui` starts it in a process of its own, where nothing can be put around it. What it hands
    to that process in the environment is set here.
    """
    store = os.environ["MLFLOW_TRACKING_URI"]
    os.environ |= {
        "_MLFLOW_SERVER_FILE_STORE": store,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": ARTIFACTS,
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": "./mlartifacts",
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    with warnings.catch_warnings(action="ignore"):  # what MLflow itself imports is deprecated
        from mlflow.server.fastapi_app import app
    from mlflow.server.handlers import initialize_backend_stores

    initialize_backend_stores(store, store, ARTIFACTS)
    return app
