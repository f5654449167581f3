"""Deletes old versions with their models, and says which cached R factors are still needed."""

import json
import time
from collections.abc import Callable

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from plumbline.registry.history import PREFIX, promotion_of, was_promoted
from tasks.tracking.models import PROFILE, TEST_PREDICTIONS
from tasks.tracking.registry import RegisteredModel, read_model
from tasks.tracking.store import if_there, runs_where

PRUNING = "pruning."  # tag of the registered model: a version whose files are being deleted


def prune(model: RegisteredModel, keep: int) -> list[int]:
    """Delete all versions but the newest `keep`, then their models; return their numbers.

    The champion, the previous champion and versions whose run is still running are kept, and so is
    the history entry of a promoted version. A version is deleted before its files, so that no
    version is ever without them. If the process is killed between, the next call finishes.
    """
    spared = {*list(model.versions)[-keep:], *model.aliases.values()}
    running = {run.info.run_id for run in _running()}
    old = [v for n, v in model.versions.items() if n not in spared and v.run_id not in running]
    for version in old:
        _delete_version(model, version)
    left = read_model(model.client, model.name)
    for tag in [tag for tag in left.tags if tag.startswith(PRUNING)]:
        if int(tag.removeprefix(PRUNING)) not in left.versions:
            _delete_files(model.client, left.tags[tag])
        model.client.delete_registered_model_tag(model.name, tag)
    return [int(version.version) for version in old]


def _running() -> list[Run]:
    return runs_where("attributes.status = 'RUNNING'")


def _delete_version(model: RegisteredModel, version: ModelVersion) -> None:
    client, number = model.client, int(version.version)
    payload = json.dumps({"source": version.source, "run_id": version.run_id})
    client.set_registered_model_tag(model.name, f"{PRUNING}{number:06}", payload)
    if was_promoted(version):
        promotion = promotion_of(version)
        client.set_registered_model_tag(model.name, PREFIX + promotion.key, promotion.to_text())
    client.delete_model_version(model.name, str(number))


def _delete_files(client: MlflowClient, payload: str) -> None:
    """Delete a version's model, and its run's data profile and held-out rows, unless the run has
    another version."""
    source, run_id = json.loads(payload)["source"], json.loads(payload)["run_id"]
    if client.search_model_versions(f"run_id='{run_id}'"):
        return
    if model := if_there(client.get_logged_model, source.removeprefix("models:/")):
        get_artifact_repository(model.artifact_location).delete_artifacts()
        client.delete_logged_model(model.model_id)
    run = if_there(client.get_run, run_id)
    for file in client.list_artifacts(run_id) if run else ():
        if file.path in (PROFILE, TEST_PREDICTIONS):
            get_artifact_repository(run.info.artifact_uri).delete_artifacts(file.path)


def use_of_factors(model: RegisteredModel, keep: int) -> Callable[[float], bool]:
    """A function that says whether R factors last used at a time must be kept.

    The time is in seconds since 1970. They must be kept if they were last used after the run of the
    oldest of the newest `keep` versions began, during the run of a registered version of any model,
    or since the start of a run that is still running.
    """
    ids = {version.run_id for version in mlflow.search_model_versions()}
    runs = {run_id: if_there(model.client.get_run, run_id) for run_id in ids}
    now = time.time() * 1000
    spans = [
        (run.info.start_time, run.info.end_time or now)
        for run in (*runs.values(), *_running())
        if run  # the others were deleted permanently
    ]
    newest = [runs.get(version.run_id) for version in list(model.versions.values())[-keep:]]
    spans.append((min((run.info.start_time for run in newest if run), default=0), now))

    def counts(moment: float) -> bool:
        return any(begin - 1000 <= 1000 * moment <= end + 1000 for begin, end in spans)

    return counts
