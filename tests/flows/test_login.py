"""Prefect's login keeps other people of a machine out, and every command has it."""

import json
import re
import signal
from base64 import b64encode
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.flows.conftest import Workspace
from tests.flows.scheduling import CONFIG, Scheduled, write_file
from tests.webhook import Webhook

pytestmark = pytest.mark.slow
LOGIN = {"PREFECT_SERVER_API_AUTH_STRING": "me:s3cret"}


@pytest.fixture
def locked(workspace: Workspace) -> Workspace:
    """The clone of a person who has set a login."""
    return Workspace(workspace.root, workspace.environment | LOGIN)


def ask(address: str, path: str, login: str = "", **body: Any) -> Any:
    """Post to Prefect's API, with a login or as a stranger."""
    request = Request(f"{address}/api/{path}", json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    if login:
        request.add_header("Authorization", f"Basic {b64encode(login.encode()).decode()}")
    with urlopen(request, timeout=60) as answer:
        return json.load(answer)


def turned_away(address: str) -> bool:
    """Whether a stranger is told nothing."""
    with pytest.raises(HTTPError) as error:
        ask(address, "deployments/filter")
    return error.value.code == 401


def test_pipelines_sweeps_and_schedules_work_with_a_login(locked: Workspace) -> None:
    assert locked.pipeline("configs/tutorial.yaml", "training.epochs=5").status == 0
    assert locked.run("flows.sweep", "configs/sweep.yaml", "training.epochs=5").status == 0
    scheduled = Scheduled(locked, "locked")
    try:
        scheduled.start("schedule.every=5")
        scheduled.completed()
        assert turned_away(re.search(r"http://[\d.:]+", scheduled.said("Prefect:")[0])[0])
        assert scheduled.stop() == 0
    finally:
        scheduled.kill_all()


@pytest.fixture
def ui(locked: Workspace) -> Iterator[str]:
    """make ui; the address of Prefect's."""
    process = locked.start("flows.ui")
    lines = "".join(process.stdout.readline() for _ in range(3))
    yield re.search(r"^Prefect: (\S+)", lines, re.MULTILINE)[1]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)


def prefect(desk: Workspace, *words: str) -> None:
    done = desk.run("prefect", "--no-prompt", *words)
    assert done.status == 0, done.out + done.err


def with_workers(locked: Workspace, ui: str) -> Workspace:
    """A desk of the team that has this Prefect server."""
    login = LOGIN["PREFECT_SERVER_API_AUTH_STRING"]
    server = {"PREFECT_API_URL": f"{ui}/api", "PREFECT_API_AUTH_STRING": login, "HOOK": "s3cret"}
    home = {"PREFECT_HOME": str(locked.root / ".prefect")}
    return Workspace(locked.root, locked.environment | server | home)


def test_a_worker_takes_whom_to_notify_from_its_own_file(
    locked: Workspace, ui: str, webhook: Webhook
) -> None:
    assert turned_away(ui)
    login, hook = LOGIN["PREFECT_SERVER_API_AUTH_STRING"], f"json://127.0.0.1:{webhook.server_port}"
    desk = with_workers(locked, ui)
    write_file(locked.root / "worker" / "a.parquet")
    own = f'notify: {{to: ["{hook}/own/${{HOOK}}"], on: [success]}}\n'
    (locked.root / "worker.yaml").write_text(CONFIG.format(name="worker") + own)
    prefect(desk, "work-pool", "create", "--type", "process", "pool")
    deploy = ("flows.deploy", "pool", "worker.yaml")
    done = desk.run(*deploy, f"notify.to=['{hook}']")
    assert (done.status, done.out) == (2, "")
    assert "notify must be set in worker.yaml itself" in done.err
    assert desk.run(*deploy).status == 0
    (deployment,) = ask(ui, "deployments/filter", login, deployments={"name": {"any_": ["worker"]}})
    config = deployment["parameters"]["config"] | {
        "notify": {"to": [f"{hook}/${{HOOK}}"], "on": ["success"]}
    }
    path = f"deployments/{deployment['id']}/create_flow_run"
    ask(ui, path, login, state={"type": "SCHEDULED"}, parameters={"config": config})
    prefect(desk, "worker", "start", "--pool", "pool", "--run-once")
    assert [path for path, _ in webhook.told] == ["/own/s3cret"]
    assert desk.runs("worker")[0].info.status == "FINISHED"


def test_workers_retrain_when_files_arrive_and_skip_where_nothing_is_new(
    locked: Workspace, ui: str
) -> None:
    desk, login = with_workers(locked, ui), LOGIN["PREFECT_SERVER_API_AUTH_STRING"]
    (locked.root / "arriving.yaml").write_text(
        CONFIG.format(name="arriving").replace("every: 4", "on_change: true, at_most_every: 5")
    )
    prefect(desk, "work-pool", "create", "--type", "process", "files")
    assert desk.run("flows.deploy", "files", "arriving.yaml").status == 0
    named = {"name": {"any_": ["arriving"]}}
    (deployment,) = ask(ui, "deployments/filter", login, deployments=named)
    for arriving, runs in (("a", 1), ("", 1), ("b", 2)):
        if arriving:
            write_file(locked.root / "arriving" / f"{arriving}.parquet")
        # make ui's server plans nothing by itself
        ask(ui, f"deployments/{deployment['id']}/schedule", login, min_runs=1, max_runs=1)
        prefect(desk, "worker", "start", "--pool", "files", "--run-once")
        assert [run.info.status for run in desk.runs("arriving")] == ["FINISHED"] * runs
    ended = ask(ui, "flow_runs/filter", login, deployments=named)
    skipped = [run["state"]["message"] for run in ended if run["state"]["name"] == "Skipped"]
    assert len(skipped) == 1
    assert "no file was added" in skipped[0]
