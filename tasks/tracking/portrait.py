"""What a registered run keeps of its data, for later runs to compare theirs with."""

import mlflow.artifacts
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from regression.drift import Portrait

PORTRAIT = "data.json"  # an artifact of the run


def load_portrait(run_id: str) -> Portrait | None:
    """The portrait of a run's data; None where it is not there or damaged."""
    try:
        if PORTRAIT not in [file.path for file in MlflowClient().list_artifacts(run_id)]:
            return None  # asking a server for a file that is not there takes minutes
        return Portrait.from_dict(mlflow.artifacts.load_dict(f"runs:/{run_id}/{PORTRAIT}"))
    except (MlflowException, OSError, ValueError, KeyError, TypeError):
        return None
