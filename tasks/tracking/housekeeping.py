"""What is deleted: old versions with their models, and when cached R factors were last of use."""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from plumbline.registry.history import PREFIX, promotion_of
from tasks.tracking.models import PROFILE
from tasks.tracking.registry import RegisteredModel, read_model, registered_names
from tasks.tracking.store import is_absent

PRUNING = "pruning."  # tag of the registered model: a version whose files are being deleted


@dataclass(frozen=True)
class Spans:
    """When runs that are kept were under way, in seconds since 1970: a list of (from, to)."""

    of: list[tuple[float, float]]

    def hold(self, moment: float) -> bool:
        """Whether a moment is within one of them, a second given or taken."""
        return any(begin - 1 <= moment <= end + 1 for begin, end in self.of)


def prune(model: RegisteredModel, keep: int) -> list[int]:
    """Delete versions beyond the newest `keep`, then their models; returns their numbers.

    The champion, the previous one and versions whose run is under way stay. The line of a promoted
    version in the history is kept. Killed half-way, the next call carries on: a version goes
    before its files, so none is ever there without them.
    """
    spared = {*list(model.versions)[-keep:], *model.aliases.values()}
    old = [v for number, v in model.versions.items() if number not in spared]
    old = [version for version in old if not _under_way(model.client, version.run_id)]
    for version in old:
        _delete_version(model, version)
    left = read_model(model.client, model.name)
    for tag in [tag for tag in left.tags if tag.startswith(PRUNING)]:
        if int(tag.removeprefix(PRUNING)) not in left.versions:
            _delete_files(model.client, left.tags[tag])
        model.client.delete_registered_model_tag(model.name, tag)
    return [int(version.version) for version in old]


def spans_in_use(model: RegisteredModel, keep: int) -> Spans:
    """When the cached R factors that must stay were last used.

    From the run of the oldest of the newest `keep` versions until now, while any registered
    version's run lasted, and since the start of every run under way.
    """
    client, now = model.client, time.time()
    newest = list(model.versions.values())[-keep:]
    found = [(min((begin for begin, _ in _spans(client, newest, now)), default=0.0), now)]
    for name in registered_names():
        found += _spans(client, read_model(client, name).versions.values(), now)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    running = client.search_runs(experiments, "attributes.status = 'RUNNING'")
    return Spans([*found, *(_span(run, now) for run in running)])


def _spans(
    client: MlflowClient, versions: Iterable[ModelVersion], now: float
) -> list[tuple[float, float]]:
    runs = (_run(client, version.run_id) for version in versions)
    return [_span(run, now) for run in runs if run]


def _span(run: Run, now: float) -> tuple[float, float]:
    end = run.info.end_time / 1000 if run.info.end_time else now
    return run.info.start_time / 1000, end


def _run(client: MlflowClient, run_id: str) -> Run | None:
    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if is_absent(error):  # somebody deleted it for good
            return None
        raise


def _under_way(client: MlflowClient, run_id: str) -> bool:
    run = _run(client, run_id)
    return run is not None and run.info.status == "RUNNING"


def _delete_version(model: RegisteredModel, version: ModelVersion) -> None:
    client, number = model.client, int(version.version)
    payload = json.dumps({"source": version.source, "run_id": version.run_id})
    client.set_registered_model_tag(model.name, f"{PRUNING}{number:06}", payload)
    if version.tags.get("decision") == "promoted":
        promotion = promotion_of(version)
        client.set_registered_model_tag(model.name, PREFIX + promotion.key, promotion.to_text())
    client.delete_model_version(model.name, str(number))


def _delete_files(client: MlflowClient, payload: str) -> None:
    """Delete a version's model and its run's profile, unless another version has the same run."""
    source, run_id = json.loads(payload)["source"], json.loads(payload)["run_id"]
    if client.search_model_versions(f"run_id='{run_id}'"):
        return
    model = _logged_model(client, source)
    if model:
        get_artifact_repository(model.artifact_location).delete_artifacts()
        client.delete_logged_model(model.model_id)
    run = _run(client, run_id)
    if run and any(file.path == PROFILE for file in client.list_artifacts(run_id)):
        get_artifact_repository(run.info.artifact_uri).delete_artifacts(PROFILE)


def _logged_model(client: MlflowClient, source: str) -> LoggedModel | None:
    try:
        return client.get_logged_model(source.removeprefix("models:/"))
    except MlflowException as error:
        if is_absent(error):  # deleted already
            return None
        raise
