"""The Prefect deployment of a schedule, and the runs of `schedule.on_change`: for files that
arrived, changed or disappeared.

`make schedule` has a Watch, which plans such runs. For workers, Prefect plans runs at intervals,
and each run checks whether there is anything to do.
"""

import os
import shlex
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas import FlowRun
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import ConcurrencyLimitConfig, Deployment
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Scheduled
from pydantic import ValidationError

from flows.pipeline_flow import pipeline
from flows.support.command import ROOT
from flows.support.web import STOPPED
from plumbline.config.running import Schedule
from plumbline.config.schema import Config
from plumbline.data.files import fingerprint
from plumbline.errors import refuse

ANCHOR = "2020-01-01T00:00:00Z"  # so that runs of `every` are due at the same times after a restart
ON_CHANGE = "on-change"  # tag of a run for changed files, followed by their fingerprint
NOTHING_NEW = "skipped: no file was added, changed or removed, or one is still being written"
LOOK_SECONDS = 3.0
CLOCK_SKEW = timedelta(minutes=10)  # between machines, at most


def deploy(
    client: SyncPrefectClient, config: Config, name: str, pool: str | None = None, path: str = ""
) -> Deployment:
    """Create or update the deployment; it stays paused if it was paused in Prefect.

    Runs that are due and not yet started stay too; later ones are planned anew.

    Args:
        client: of the server.
        config: with a schedule.
        name: of the deployment.
        pool: the work pool of type `process` whose workers run it, one run at a time, in a checkout
            at the same path as this one; None: `make schedule` runs it.
        path: of the configuration, from which workers read `notify` and `model.file`.

    Raises:
        InputError: there is no such work pool.
    """
    try:
        if pool:
            client.read_work_pool(pool)
    except ObjectNotFound:
        known = "a work pool (prefect work-pool create --type process NAME)"
        raise refuse("POOL", known, pool) from None
    try:
        before = client.read_deployment_by_name(f"{pipeline.name}/{name}")
    except ObjectNotFound:
        before = None
    schedules = before.schedules if before else []
    stopped = next((tag for tag in before.tags if tag.startswith(STOPPED)), "") if before else ""
    active = bool(stopped) or not schedules or any(schedule.active for schedule in schedules)
    deployment = pipeline.to_deployment(
        name,
        schedules=[
            {"schedule": times, "active": active} for times in _schedules_of(config.schedule, pool)
        ],
        paused=bool(before and before.paused),
        # defaults are resolved where and when it runs, from the data found then
        parameters={"config": config.model_dump(mode="json", exclude_unset=True)},
        **(_worker_settings(pool, path) if pool else {}),
    )
    made = client.read_deployment(deployment.apply())
    if stopped and not made.paused:
        _plan_catch_up_run(client, made, stopped.removeprefix(STOPPED))
    return made


def suspend(client: SyncPrefectClient, deployment_id: UUID) -> None:
    """Plan no more runs until the next deploy; our server deletes what is planned when it ends.

    A pause that was set in Prefect stays.
    """
    found = client.read_deployment(deployment_id)
    if any(schedule.active for schedule in found.schedules):
        inactive = [{"schedule": each.schedule, "active": False} for each in found.schedules]
        tag = f"{STOPPED}{datetime.now(UTC).isoformat()}"
        client.update_deployment(deployment_id, DeploymentUpdate(schedules=inactive, tags=[tag]))


def _plan_catch_up_run(client: SyncPrefectClient, deployment: Deployment, since: str) -> None:
    """Plan the first run that would have been due since a time, if any, to catch up."""
    span = {"start_time": since, "end_time": datetime.now(UTC).isoformat()}
    one = {"min_runs": 1, "max_runs": 1}
    path = {"id": str(deployment.id)}
    client.request("POST", "/deployments/{id}/schedule", json=span | one, path_params=path)


def _worker_settings(pool: str, path: str) -> dict[str, Any]:
    """The settings of a deployment for workers, which run our command, with its lease and lock."""
    command = shlex.join([sys.executable, "-m", "flows.retraining", os.path.abspath(path)])
    return {
        "work_pool_name": pool,
        "job_variables": {"command": command, "working_dir": str(ROOT)},
        "concurrency_limit": ConcurrencyLimitConfig(limit=1, collision_strategy="CANCEL_NEW"),
    }


def _schedules_of(schedule: Schedule, pool: str | None) -> list[CronSchedule | IntervalSchedule]:
    """When Prefect plans runs; with on_change, when a worker checks whether files changed.

    Without workers nothing is planned then, because `make schedule` checks by itself.
    """
    if schedule.on_change and not pool:
        return []
    every = schedule.at_most_every if schedule.on_change else schedule.every
    if every is not None:
        return [IntervalSchedule(interval=timedelta(seconds=every), anchor_date=ANCHOR)]
    try:
        return [CronSchedule(cron=schedule.cron, timezone=schedule.timezone)]
    except ValidationError:
        allowed = 'five fields of cron, such as "0 3 * * *"'
        raise refuse("schedule.cron", allowed, schedule.cron) from None


class Watch:
    """Watches the files of a deployment's data, and plans a run when they have changed.

    They are compared with those of the last planned run, which Prefect's database records, so this
    works across restarts. A file that differs between two looks may still be being written, and is
    looked at again.

    Args:
        client: of the server.
        deployment: without a schedule of its own.
        config: of a table, with schedule.on_change.
    """

    def __init__(self, client: SyncPrefectClient, deployment: Deployment, config: Config) -> None:
        self._client, self._deployment = client, deployment
        self._path = config.data.path
        self._pause = timedelta(seconds=config.schedule.at_most_every)
        self._seen, self._next_look = "", 0.0

    def look(self) -> None:
        """Plan a run for now if one is due. Call it only while no run is active.

        Raises:
            OSError: the files cannot be listed at the moment.
            InputError: the path cannot be listed at all.
        """
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_SECONDS
        before, self._seen = self._seen, fingerprint(self._path)
        if not self._seen or self._seen != before:
            return
        client, deployment = self._client, self._client.read_deployment(self._deployment.id)
        if not deployment.paused and _is_due(client, deployment.id, self._seen, self._pause):
            tags = [ON_CHANGE, self._seen]
            client.create_flow_run_from_deployment(deployment.id, state=Scheduled(), tags=tags)


def finds_nothing_new(client: SyncPrefectClient, flow_run: FlowRun) -> bool:
    """Whether a worker's flow run, planned to look at the files, finds those of the last run or one
    that is still being written. Otherwise their fingerprint becomes one of its tags.

    Raises:
        OSError, InputError: as Watch.look.
    """
    config = flow_run.parameters["config"]
    if not (flow_run.auto_scheduled and (config.get("schedule") or {}).get("on_change")):
        return False
    seen = fingerprint(config["data"]["path"])
    if not (seen and _is_due(client, flow_run.deployment_id, seen)):
        return True
    time.sleep(LOOK_SECONDS)
    flow_run.tags += [ON_CHANGE, seen]
    return fingerprint(config["data"]["path"]) != seen


def _is_due(
    client: SyncPrefectClient, deployment: UUID, files: str, pause: timedelta = timedelta(0)
) -> bool:
    """Whether to train on the files: they are new, or their run was skipped or crashed.

    The files of a run that failed are not tried again, because it would fail again.
    """
    soon = datetime.now(UTC) + CLOCK_SKEW
    tagged = FlowRunFilter(
        tags={"all_": [ON_CHANGE]},
        deployment_id={"any_": [deployment]},
        expected_start_time={"before_": soon},  # the clock may have been set back since
    )
    newest_first = FlowRunSort.EXPECTED_START_TIME_DESC
    found = client.read_flow_runs(flow_run_filter=tagged, sort=newest_first, limit=1)
    if not found:
        return True
    (last,) = found
    if not last.state.is_final() or datetime.now(UTC) < last.expected_start_time + pause:
        return False
    undone = last.state.is_crashed() or last.state.name == "Skipped"
    return undone or files not in last.tags
