"""make schedule while somebody deletes and changes in Prefect what it works on."""

from collections.abc import Iterator

import pytest

from tests.flows.conftest import Workspace, eventually
from tests.flows.scheduling import Scheduled

pytestmark = pytest.mark.slow
LONG = ("training.epochs=100000000", "training.learning_rate=1e-9")


@pytest.fixture
def scheduled(workspace: Workspace, request: pytest.FixtureRequest) -> Iterator[Scheduled]:
    """A schedule named after the test; nothing of it is left."""
    made = Scheduled(workspace, request.node.name[-40:])
    yield made
    if made.process:
        made.kill_all()


def test_a_run_that_is_deleted_in_progress_ends_and_the_next_one_starts(
    scheduled: Scheduled,
) -> None:
    scheduled.start(*LONG)
    pid = scheduled.retraining()
    first = scheduled.flow_runs("RUNNING")[0]["id"]
    run = scheduled.workspace.runs(scheduled.name)[0]
    scheduled.api(f"flow_runs/{first}", "DELETE")
    eventually(lambda: scheduled.said("was interrupted: it was deleted in Prefect"))
    assert scheduled.workspace.client.get_run(run.info.run_id).info.status == "KILLED"
    assert scheduled.said("Failed: the flow run was deleted in Prefect")
    assert scheduled.retraining() != pid
    assert scheduled.stop() == 0
    assert not scheduled.said("Traceback")


def test_wrong_parameters_fail_their_run_and_a_deleted_deployment_ends_the_schedule(
    scheduled: Scheduled,
) -> None:
    """A server that was told not to check parameters takes any."""
    scheduled.start("schedule.every=100000")
    deployment = scheduled.deployment[0]
    found = scheduled.api("deployments/filter")
    config = next(each for each in found if each["id"] == deployment)["parameters"]["config"]
    scheduled.api(f"deployments/{deployment}", "PATCH", enforce_parameter_schema=False)
    wrong = {"config": config | {"registry": "a name"}}
    ask = f"deployments/{deployment}/create_flow_run"
    scheduled.api(ask, state={"type": "SCHEDULED"}, parameters=wrong)
    (failed,) = eventually(lambda: scheduled.flow_runs("FAILED"))
    assert "config.registry" in failed["message"]
    eventually(lambda: scheduled.said("ended: Failed"))
    scheduled.api(f"deployments/{deployment}", "DELETE")
    assert scheduled.process.wait(timeout=20) == 2
    eventually(lambda: scheduled.said(f"'pipeline/{scheduled.name}' was deleted in Prefect"))
    assert not scheduled.said("Traceback")
    assert scheduled.workspace.processes() == []
