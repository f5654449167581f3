"""What a registered run keeps of its data, for later runs to compare theirs with."""

import json
import tempfile
from pathlib import Path

import mlflow.artifacts
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from plumbline.registry.drift import Portrait
from tasks.tracking.store import is_absent

PORTRAIT = "data.json"  # an artifact of the run


def load_portrait(run_id: str) -> Portrait | None:
    """The portrait of a run's data; None if it is not there or damaged.

    Raises:
        MlflowException, OSError: the store failed.
    """
    try:
        if PORTRAIT not in [file.path for file in MlflowClient().list_artifacts(run_id)]:
            return None  # asking a server for a file that is not there takes minutes
    except MlflowException as error:
        if is_absent(error):  # somebody deleted the run
            return None
        raise
    with tempfile.TemporaryDirectory() as scratch:
        path = mlflow.artifacts.download_artifacts(
            run_id=run_id, artifact_path=PORTRAIT, dst_path=scratch
        )
        text = Path(path).read_bytes()
    try:
        return Portrait.from_dict(json.loads(text))
    except (ValueError, KeyError, TypeError):
        return None
