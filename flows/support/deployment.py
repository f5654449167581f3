"""The deployment: what Prefect knows of a scheduled retraining."""

import os
import shlex
import sys
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas import FlowRun
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import (
    ConcurrencyLimitConfig,
    ConcurrencyLimitStrategy,
    Deployment,
)
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled
from pydantic import ValidationError

from flows.pipeline_flow import pipeline
from flows.support.environment import ROOT
from plumbline.config.loading import read_yaml, validated
from plumbline.config.running import Notify, Schedule
from plumbline.config.schema import Config
from plumbline.errors import InputError, refuse
from tasks.screen import note

# of `every`: the same moments after a restart
ANCHOR = "2020-01-01T00:00:00Z"


def deploy(
    client: SyncPrefectClient, config: Config, name: str, pool: str | None = None, path: str = ""
) -> Deployment:
    """Make the deployment what the configuration says; a pause made in Prefect stays.

    Runs that came due and were not started stay as well; later ones are planned anew.

    Args:
        client: of the server.
        config: with a schedule.
        name: of the deployment.
        pool: a work pool of the kind `process` whose workers run it, one run at a time, in a
            checkout at the same place as this one; None: `make schedule` does.
        path: of the configuration, where workers read whom to notify.
    """
    before = _known(client, name)
    running = before is None or not before.schedules or any(s.active for s in before.schedules)
    times = DeploymentScheduleCreate(schedule=_times(config.schedule), active=running)
    deployment = pipeline.to_deployment(
        name,
        schedules=[times],
        paused=bool(before and before.paused),
        # what is left out is resolved where it runs, by the data that are there then
        parameters={"config": config.model_dump(mode="json", exclude_unset=True)},
        **(_by_workers_of(pool, path) if pool else {}),
    )
    return client.read_deployment(deployment.apply())


def _by_workers_of(pool: str, path: str) -> dict[str, Any]:
    """What a deployment says beside for a worker: our own command takes the lease and the lock."""
    one_at_a_time = ConcurrencyLimitConfig(
        limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW
    )
    command = shlex.join([sys.executable, "-m", "flows.retraining", os.path.abspath(path)])
    return {
        "work_pool_name": pool,
        "job_variables": {"command": command, "working_dir": str(ROOT)},
        "concurrency_limit": one_at_a_time,
    }


def notify_in(path: str = "") -> dict[str, Any] | None:
    """The section `notify` of a configuration's file on this machine; what is wrong is a note."""
    try:
        section = read_yaml(path).get("notify")
        return section and validated(section, f"{path}: notify", Notify).model_dump(mode="json")
    except InputError as error:
        note(f"nobody will be notified: {error}")
        return None


def is_paused(deployment: Deployment) -> bool:
    """Whether no run will come due."""
    return deployment.paused or not any(schedule.active for schedule in deployment.schedules)


def _known(client: SyncPrefectClient, name: str) -> Deployment | None:
    try:
        return client.read_deployment_by_name(f"{pipeline.name}/{name}")
    except ObjectNotFound:
        return None


def _times(schedule: Schedule) -> CronSchedule | IntervalSchedule:
    if schedule.every is not None:
        return IntervalSchedule(interval=timedelta(seconds=schedule.every), anchor_date=ANCHOR)
    try:
        return CronSchedule(cron=schedule.cron, timezone=schedule.timezone)
    except ValidationError:
        allowed = 'five fields of cron, such as "0 3 * * *"'
        raise refuse("schedule.cron", allowed, schedule.cron) from None


def model_of(flow_run: FlowRun) -> str | None:
    """The registered model that a flow run of the deployment trains."""
    return (flow_run.parameters["config"].get("registry") or {}).get("model")


def skip(client: SyncPrefectClient, flow_run_id: UUID, reason: str) -> None:
    """Leave a run out and say so: in Prefect it is Cancelled, under the name Skipped."""
    client.set_flow_run_state(flow_run_id, Cancelled(name="Skipped", message=reason))
