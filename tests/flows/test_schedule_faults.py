"""What happens to a schedule that is left alone: kills at any moment, files of every kind."""

import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from blake3 import blake3

from tests.flows.conftest import Workspace, eventually
from tests.flows.scheduling import UNDER_WAY, Scheduled, kill, write_file
from tests.webhook import Webhook

pytestmark = pytest.mark.long
Start = Callable[..., subprocess.Popen]
VICTIMS = ("the run", "the server", "the scheduler", "everything")
SECRET = "s3cret-token"


@pytest.fixture
def scheduled(workspace: Workspace, request: pytest.FixtureRequest) -> Iterator[Scheduled]:
    """A schedule of its own, stopped with the test."""
    made = Scheduled(workspace, f"faults-{request.node.name[-20:].strip(']').replace('[', '-')}")
    yield made
    if made.process:
        made.kill_all()


def strike(scheduled: Scheduled, victim: str) -> None:
    """SIGKILL to one process or to all."""
    if victim == "everything":
        scheduled.kill_all()
    elif victim == "the scheduler":
        scheduled.process.kill()
        scheduled.process.wait()
    else:
        module = "flows.retraining" if victim == "the run" else "flows.support.web"
        for pid in scheduled.children(module):
            kill(pid)


def check_what_is_left(scheduled: Scheduled) -> None:
    """Nothing under way, whole histories, and a last run of exactly the files that are there."""
    workspace = scheduled.workspace
    assert scheduled.flow_runs(*UNDER_WAY) == []
    runs = workspace.runs(scheduled.name)
    for run in runs:
        assert run.info.status in ("FINISHED", "KILLED", "FAILED")
        epochs = [epoch for epoch, _ in workspace.losses(run)]
        assert epochs == list(range(1, len(epochs) + 1))
    last = next(run for run in runs if run.info.status == "FINISHED")
    files = sorted(scheduled.folder.glob("*.parquet"))
    metrics = last.data.metrics
    assert metrics["files_new"] + metrics["files_reused"] == len(files)
    digests = [blake3(file.read_bytes()).hexdigest() for file in files]
    whole = blake3("".join(digests).encode()).hexdigest()
    assert last.data.tags["data_digest"] == whole


@pytest.mark.parametrize("seed", range(4))
def test_kill_9_of_any_process_at_any_moment_is_set_right(scheduled: Scheduled, seed: int) -> None:
    chance = random.Random(seed)
    victim, moment = VICTIMS[seed % len(VICTIMS)], chance.uniform(0, 14)
    print(f"seed {seed}: {victim} is killed after {moment:.2f} s")
    scheduled.start("schedule.every=3", "training.epochs=5000")
    time.sleep(moment)
    strike(scheduled, victim)
    write_file(scheduled.folder / "part-99.parquet", seed=99)
    write_file(scheduled.folder / "part-00.parquet", rows=chance.randrange(10, 500), seed=seed)
    if scheduled.process.poll() is not None:
        eventually(lambda: not scheduled.workspace.processes())
        scheduled.start("schedule.every=3", "training.epochs=5000")
    scheduled.completed(more_than=len(scheduled.flow_runs("COMPLETED")) + 1)
    assert scheduled.stop() == 0
    check_what_is_left(scheduled)
    assert scheduled.workspace.processes() == []


def test_files_arrive_change_vanish_and_turn_bad_and_failures_are_told(
    scheduled: Scheduled, webhook: Webhook
) -> None:
    os.environ["HOOK_TOKEN"] = SECRET
    address = f"json://127.0.0.1:{webhook.server_port}/${{HOOK_TOKEN}}"
    asked = (f"notify.to=['{address}']", "notify.on=[failure, success]")
    scheduled.start("schedule.every=3", *asked)
    told = [f"Retraining of {scheduled.name} {how}" for how in ("finished", "ended: Failed")]

    def hears(what: str) -> None:
        """Two in a row: the second began after the files were as they are."""
        webhook.told.clear()
        eventually(lambda: [body["title"] for _, body in webhook.told][-2:] == [what] * 2)

    hears(told[0])
    messages = [body["message"] for _, body in webhook.told]
    assert len({*messages}) == len(messages)  # each names its own run
    write_file(scheduled.folder / "part-05.parquet", seed=5)
    (scheduled.folder / "part-00.parquet").unlink()
    hears(told[0])
    (scheduled.folder / "part-06.parquet").write_bytes(b"no parquet")
    hears(told[1])
    assert "part-06.parquet" in webhook.told[-1][1]["message"]
    (scheduled.folder / "part-06.parquet").unlink()
    hears(told[0])
    assert scheduled.stop() == 0
    check_what_is_left(scheduled)
    assert {path for path, _ in webhook.told} == {f"/{SECRET}"}
    # by a process of its own: one that closes a database's file drops its own locks on it
    others = ("--exclude=*.parquet", "--exclude=*.pyc", SECRET, scheduled.workspace.root)
    found = subprocess.run(["grep", "-rlF", *others], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (1, "")
    assert not scheduled.said(SECRET)


def test_a_run_that_is_killed_is_told_too(scheduled: Scheduled, webhook: Webhook) -> None:
    address = f"json://127.0.0.1:{webhook.server_port}/hook"
    endless = ("training.epochs=100000000", "training.learning_rate=1e-9")
    scheduled.start(f"notify.to=['{address}']", *endless)
    kill(scheduled.retraining())
    eventually(lambda: webhook.told)
    assert webhook.told[0][1]["title"] == f"Retraining of {scheduled.name} ended: Crashed"
    scheduled.retraining()  # the next one goes ahead
    assert len(webhook.told) == 1


def test_a_manual_run_tells_how_it_ended_and_whoever_sets_a_killed_one_right_does(
    workspace: Workspace, started: Start, webhook: Webhook
) -> None:
    address = f"json://127.0.0.1:{webhook.server_port}/hook"
    asked = ("configs/tutorial.yaml", "experiment=told", f"notify.to=['{address}']")
    assert workspace.pipeline(*asked, "notify.on=[success]").status == 0
    assert workspace.pipeline(*asked, "training.learning_rate=0.13").status == 2
    process = started("flows.pipeline", *asked, "training.epochs=100000000")
    eventually(lambda: workspace.runs("told")[0].info.status == "RUNNING")
    process.kill()
    process.communicate()
    eventually(lambda: not workspace.processes())
    told = [body["title"].removeprefix("Retraining of told ") for _, body in webhook.told]
    assert told == ["finished", "ended: Failed", "ended: Crashed"]
