"""The deployment: what Prefect knows of a scheduled retraining."""

from datetime import timedelta
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas import FlowRun
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import Deployment
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled
from pydantic import ValidationError

from flows.pipeline_flow import pipeline
from regression.config import Config
from regression.errors import refuse
from regression.schedule_config import Schedule

# of `every`: the same moments after a restart
ANCHOR = "2020-01-01T00:00:00Z"


def deploy(client: SyncPrefectClient, config: Config, name: str) -> Deployment:
    """Make the deployment what the configuration says; a pause made in Prefect stays.

    Runs that came due and were not started stay as well; later ones are planned anew.
    """
    before = _known(client, name)
    running = before is None or not before.schedules or any(s.active for s in before.schedules)
    times = DeploymentScheduleCreate(schedule=_times(config.schedule), active=running)
    deployment = pipeline.to_deployment(
        name,
        schedules=[times],
        paused=bool(before and before.paused),
        parameters={"config": config.model_dump(mode="json")},
    )
    return client.read_deployment(deployment.apply())


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
