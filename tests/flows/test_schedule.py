"""make schedule: each due run happens once, one at a time, and stopping or pausing it holds."""

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from tests.flows.conftest import Workspace, eventually
from tests.flows.scheduling import UNDER_WAY, Scheduled, kill, write_file
from tests.webhook import Webhook

pytestmark = pytest.mark.slow
LONG = ("training.epochs=100000000", "training.learning_rate=1e-9")


@pytest.fixture
def scheduled(workspace: Workspace, request: pytest.FixtureRequest) -> Iterator[Scheduled]:
    """A schedule named after the test; nothing of it is left."""
    made = Scheduled(workspace, request.node.name.split("[")[0][-40:])
    yield made
    if made.process:
        made.kill_all()


def test_a_pause_survives_a_restart_and_due_runs_never_overlap(scheduled: Scheduled) -> None:
    scheduled.start("schedule.every=2")
    scheduled.completed(more_than=1)
    deployment, paused = scheduled.deployment
    assert not paused
    scheduled.api(f"deployments/{deployment}/pause_deployment")
    eventually(lambda: not scheduled.flow_runs(*UNDER_WAY))
    assert scheduled.stop() == 0
    before = scheduled.flow_runs()
    skipped = [run for run in before if run["state_name"] == "Skipped"]
    assert skipped
    assert all("under way" in run["message"] or "missed" in run["message"] for run in skipped)
    ran = [run for run in before if run["state_name"] != "Skipped"]
    assert len(scheduled.workspace.runs(scheduled.name)) == len(ran)
    for earlier, later in pairwise(ran):
        assert earlier["end_time"] <= later["start_time"]

    scheduled.start("schedule.every=2")
    assert scheduled.said("is paused")
    time.sleep(8)  # several times the period
    assert scheduled.deployment == (deployment, True)
    assert scheduled.flow_runs() == before
    scheduled.api(f"deployments/{deployment}/resume_deployment")
    scheduled.completed(more_than=len(ran))
    assert scheduled.flow_runs()[: len(before)] == before
    assert scheduled.stop(signal.SIGINT) == 0


def test_started_in_another_folder_its_runs_find_the_files_there(
    workspace: Workspace, tmp_path: Path
) -> None:
    environment = workspace.environment | {"PYTHONPATH": str(workspace.root)}
    elsewhere = Scheduled(Workspace(tmp_path, environment), "elsewhere")
    try:
        elsewhere.start()
        (ended, *_) = eventually(lambda: elsewhere.said("ended: "))
        assert "ended: Completed" in ended
        assert elsewhere.stop() == 0
    finally:
        elsewhere.kill_all()


def test_a_net_of_classes_is_retrained_and_held_against_its_champion(scheduled: Scheduled) -> None:
    rows = "".join(f"{x % 13},{'ab'[x * x % 5 > 2]}\n" for x in range(300))
    (scheduled.workspace.root / "classes.csv").write_text(f"x,y\n{rows}")
    scheduled.start(
        "schedule.every=2", "data.path=classes.csv", "model.kind=mlp", "model.hidden=[8]",
        "training.epochs=3",
    )  # fmt: skip
    scheduled.completed(more_than=1)
    assert scheduled.stop() == 0
    second, first = scheduled.workspace.runs(scheduled.name)[-2:]
    assert first.data.params["model.kind"] == "mlp"
    assert second.data.metrics["test_log_loss"] == first.data.metrics["test_log_loss"]
    assert second.data.metrics["drift_max_shift"] == 0.0
    assert scheduled.said("Kept the champion (version 1)")


def test_a_second_scheduler_and_a_manual_run_of_the_same_model_are_turned_away(
    scheduled: Scheduled,
) -> None:
    scheduled.start("schedule.every=60", *LONG)
    scheduled.api(
        f"deployments/{scheduled.deployment[0]}/create_flow_run", state={"type": "SCHEDULED"}
    )
    scheduled.retraining()
    for module in ("flows.schedule", "flows.pipeline"):
        done = scheduled.workspace.run(module, scheduled.config)
        assert (done.status, done.out) == (1, "")
        assert len(done.err.splitlines()) == 1
    assert "a retraining of model" in done.err
    assert len(scheduled.workspace.runs(scheduled.name)) == 1


def test_a_run_that_comes_due_during_a_manual_one_is_skipped(scheduled: Scheduled) -> None:
    manual = scheduled.workspace.start("flows.pipeline", scheduled.config, *LONG)
    eventually(lambda: scheduled.workspace.runs(scheduled.name))
    scheduled.start()
    eventually(lambda: scheduled.flow_runs("CANCELLED"))
    manual.terminate()
    manual.communicate()
    scheduled.completed()
    skipped = scheduled.flow_runs("CANCELLED")[0]
    assert skipped["state_name"] == "Skipped"
    assert "under way" in skipped["message"]
    assert scheduled.stop() == 0


def test_stopping_ends_a_run_in_progress_and_leaves_no_process(scheduled: Scheduled) -> None:
    scheduled.start(*LONG)
    scheduled.retraining()
    assert scheduled.stop() == 0
    assert scheduled.workspace.processes() == []
    run = scheduled.workspace.runs(scheduled.name)[0]
    assert run.info.status == "KILLED"
    assert scheduled.workspace.flow_state(run) in ("CRASHED", "CANCELLED")


def test_a_run_cancelled_in_the_ui_ends_cancelled_and_the_next_one_goes_ahead(
    scheduled: Scheduled,
) -> None:
    scheduled.start(*LONG)
    scheduled.retraining()
    first = scheduled.flow_runs("RUNNING")[0]["id"]
    scheduled.api(f"flow_runs/{first}/set_state", state={"type": "CANCELLING"})
    run = scheduled.workspace.runs(scheduled.name)[0]
    eventually(lambda: scheduled.workspace.flow_state(run) == "CANCELLED")
    assert scheduled.workspace.client.get_run(run.info.run_id).info.status == "KILLED"
    scheduled.retraining()
    assert scheduled.workspace.runs(scheduled.name)[0].info.run_id != run.info.run_id


def test_a_run_that_was_killed_goes_on_in_the_next_one(scheduled: Scheduled) -> None:
    scheduled.start(*LONG, "training.checkpoint_every=0.2")
    pid = scheduled.retraining()
    run = scheduled.workspace.runs(scheduled.name)[0]
    time.sleep(1)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: scheduled.workspace.flow_state(run) == "CRASHED")
    scheduled.retraining()
    (again,) = scheduled.workspace.runs(scheduled.name)
    assert again.info.run_id == run.info.run_id
    assert scheduled.stop() == 0
    epochs = [epoch for epoch, _ in scheduled.workspace.losses(run)]
    assert epochs == list(range(1, len(epochs) + 1))
    write_file(scheduled.folder / "part-99.parquet", seed=99)  # other data: nothing to go on with
    scheduled.start(*LONG)
    scheduled.retraining()
    newest, _ = scheduled.workspace.runs(scheduled.name)
    assert scheduled.stop() == 0
    before = len(scheduled.workspace.losses(newest))
    resumed = scheduled.workspace.start("flows.resume")
    eventually(lambda: len(scheduled.workspace.losses(newest)) > before or resumed.poll())
    resumed.terminate()
    assert "cannot be resumed" not in resumed.communicate()[1]
    assert len(scheduled.workspace.losses(newest)) > before


def test_of_the_runs_missed_while_it_was_down_one_catches_up(scheduled: Scheduled) -> None:
    scheduled.start("schedule.every=3")
    eventually(lambda: scheduled.flow_runs("RUNNING"))
    scheduled.kill_all()
    seen = len(scheduled.flow_runs())
    time.sleep(10)  # three periods and more
    scheduled.start("schedule.every=3")
    scheduled.completed()
    new = scheduled.flow_runs()[seen:]
    missed = [run for run in new if "missed" in (run["message"] or "")]
    assert len(missed) >= 2
    assert new[len(missed)]["state_name"] != "Skipped"
    assert scheduled.said("missed")
    assert scheduled.stop() == 0


def test_a_stopped_schedule_leaves_no_run_to_be_late_and_one_catches_up(
    scheduled: Scheduled,
) -> None:
    every = "schedule.every=86400"
    scheduled.start(every)
    planned = "SELECT count(*) FROM flow_run WHERE state_type = 'SCHEDULED' AND deployment_id = ?"
    deployment, _ = scheduled.deployment
    eventually(lambda: scheduled.workspace.prefect(planned, deployment)[0][0])
    assert scheduled.stop() == 0
    assert scheduled.workspace.prefect(planned, deployment) == [(0,)]
    scheduled.start("schedule.every=3")
    scheduled.completed()
    assert scheduled.stop() == 0
    before = scheduled.flow_runs("COMPLETED")
    time.sleep(10)  # three periods and more
    again = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    scheduled.start("schedule.every=3")
    assert not scheduled.said("is paused")
    # a run that came due just before the stop was left waiting; the newer one is started instead
    caught_up = [
        run
        for run in scheduled.completed(more_than=len(before))
        if run["due"] < again and run not in before
    ]
    assert len(caught_up) == 1
    assert scheduled.stop() == 0


def test_files_that_arrive_are_trained_on_once_a_batch_and_nothing_new_starts_no_run(
    scheduled: Scheduled,
) -> None:
    on_change = "schedule={on_change: true, at_most_every: 2}"
    scheduled.start(on_change)
    scheduled.completed()
    for number in (2, 3, 4):
        write_file(scheduled.folder / f"part-{number:02}.parquet", seed=number)
    scheduled.completed(more_than=1)
    time.sleep(10)  # several looks
    assert scheduled.stop() == 0
    with sqlite3.connect(scheduled.workspace.root / ".prefect" / "prefect.db") as database:
        hour = "strftime('%Y-%m-%d %H:%M:%f000', 'now', '+1 hour')"  # as if the clock were set back
        database.execute(f"UPDATE flow_run SET expected_start_time = {hour}")
    write_file(scheduled.folder / "part-05.parquet", seed=5)
    scheduled.start(on_change)  # it knows what it has seen
    scheduled.completed(more_than=2)
    for _ in range(10):  # as a file that is being written
        (scheduled.folder / "part-05.parquet").touch()
        time.sleep(1)
    assert len(scheduled.flow_runs()) == 3
    scheduled.completed(more_than=3)
    assert len(scheduled.workspace.runs(scheduled.name)) == len(scheduled.flow_runs()) == 4
    assert scheduled.stop() == 0
    assert scheduled.workspace.processes() == []


def test_wrong_schedules_and_addresses_are_one_line_each(workspace: Workspace) -> None:
    for override, key in (
        ("schedule.cron=1 2", "schedule"),
        ("schedule={cron: 61 * * * *}", "schedule.cron"),
        ("schedule=null", "schedule"),
        ("schedule.timezone=Mars/Base", "schedule.timezone"),
        ("notify.to=[nosuch://x]", "notify.to[0]"),
        ("notify.to=['json://${NOT_SET}']", "notify.to[0]"),
    ):
        done = workspace.run("flows.schedule", "configs/retraining.yaml", override)
        assert (done.status, done.out) == (2, ""), done
        assert len(done.err.splitlines()) == 1
        assert key in done.err


def test_two_schedules_started_together_each_have_a_server_and_retrain(
    scheduled: Scheduled, workspace: Workspace
) -> None:
    other = Scheduled(workspace, f"{scheduled.name[:-1]}2")
    try:
        with ThreadPoolExecutor() as together:
            list(together.map(Scheduled.start, (scheduled, other)))
        assert scheduled.said("Prefect:") != other.said("Prefect:")
        for each in (scheduled, other):
            assert each.completed()
            assert each.stop() == 0
    finally:
        if other.process:
            other.kill_all()


def test_a_run_that_anybody_asks_for_sends_nobody_a_secret(
    scheduled: Scheduled, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parameters name an address and a variable; it ends well, and another is killed."""
    monkeypatch.setenv("HOOK_TOKEN", "s3cret")
    address = f"json://127.0.0.1:{webhook.server_port}"
    scheduled.start("schedule.every=600", f"notify.to=['{address}/own']", "notify.on=[success]")
    found = scheduled.api("deployments/filter")  # those of earlier tests as well
    deployment = next(each for each in found if each["name"] == scheduled.name)
    config = deployment["parameters"]["config"]
    config["notify"] = {"to": [f"{address}/${{HOOK_TOKEN}}"], "on": ["success", "failure"]}
    ask = f"deployments/{deployment['id']}/create_flow_run"
    for epochs in (10, 100_000_000):
        config["training"] |= {"epochs": epochs, "learning_rate": 1e-9}
        scheduled.api(ask, state={"type": "SCHEDULED"}, parameters={"config": config})
        if epochs == 10:
            eventually(lambda: scheduled.said("ended: Completed"))  # before, it would be skipped
    kill(scheduled.retraining())
    eventually(lambda: scheduled.flow_runs("CRASHED"))
    assert [path for path, _ in webhook.told] == ["/own"]
    assert scheduled.said("notify in the run's parameters is ignored")
    assert scheduled.stop() == 0
    run = scheduled.workspace.runs(scheduled.name)[-1]
    assert "HOOK_TOKEN" not in str(run.data.params)
