"""Every way a run can end leaves a status that is true, in MLflow and in Prefect."""

import os
import re
import signal
import subprocess
from collections.abc import Callable

import pytest
from mlflow.entities import Run

from tests.flows.conftest import Workspace, eventually

LONG = ("configs/tutorial.yaml", "training.epochs=100000000")
Start = Callable[..., subprocess.Popen]


def running(workspace: Workspace, experiment: str) -> Run | None:
    """The experiment's newest run once its first losses can be seen."""
    runs = workspace.runs(experiment)
    return runs[0] if runs and "loss" in runs[0].data.metrics else None


@pytest.mark.parametrize(
    "sign", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_an_interrupted_run_is_killed_and_keeps_its_losses(
    workspace: Workspace, started: Start, sign: signal.Signals
) -> None:
    experiment = f"interrupted-{sign.name}"
    process = started("flows.pipeline", *LONG, f"experiment={experiment}")
    run = eventually(lambda: running(workspace, experiment))
    assert run.info.status == "RUNNING"
    process.send_signal(sign)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip() == "Interrupted."
    ended = workspace.client.get_run(run.info.run_id)
    assert ended.info.status == "KILLED"
    assert ended.data.tags["reason"] == "interrupted"
    assert workspace.flow_state(run) in ("CRASHED", "CANCELLED")
    epochs = [epoch for epoch, _ in workspace.losses(run)]
    printed = [int(epoch) for epoch in re.findall(r"Epoch \[(\d+)/", out)]
    assert epochs == list(range(1, len(epochs) + 1))
    assert len(epochs) >= printed[-1]


def test_kill_9_leaves_nothing_that_says_running_and_nothing_in_the_background(
    workspace: Workspace, started: Start
) -> None:
    process = started("flows.pipeline", *LONG, "experiment=killed")
    run = eventually(lambda: running(workspace, "killed"))
    process.kill()
    process.communicate()
    eventually(lambda: not workspace.processes())
    assert workspace.client.get_run(run.info.run_id).info.status == "KILLED"
    assert workspace.flow_state(run) == "CRASHED"
    assert workspace.losses(run)


@pytest.mark.slow
def test_what_a_whole_killed_group_left_is_set_right_by_the_next_start(
    workspace: Workspace, started: Start
) -> None:
    process = started("flows.pipeline", *LONG, "experiment=group")
    run = eventually(lambda: running(workspace, "group"))
    server = subprocess.check_output(["pgrep", "-P", str(process.pid)], text=True).split()
    for child in server:
        os.kill(int(child), signal.SIGKILL)
    process.kill()
    process.communicate()
    assert workspace.client.get_run(run.info.run_id).info.status == "RUNNING"
    done = workspace.pipeline("configs/tutorial.yaml", "training.epochs=1")
    assert done.status == 0
    assert workspace.client.get_run(run.info.run_id).info.status == "KILLED"
    assert workspace.flow_state(run) == "CRASHED"


def test_a_loss_that_is_no_number_ends_the_run_failed_at_that_epoch(served: Workspace) -> None:
    done = served.pipeline(
        "configs/tutorial.yaml", "experiment=diverged", "training.optimizer=adam",
        "training.learning_rate=1e30",
    )  # fmt: skip
    assert done.status == 1
    assert re.match(r"Failed: the loss became (inf|nan) at epoch \d+\. .*1e\+30", done.err)
    assert len(done.err.splitlines()) == 1
    run = served.runs("diverged")[0]
    assert run.info.status == "FAILED"
    assert "learning rate" in run.data.tags["reason"]
    assert served.flow_state(run) == "FAILED"
