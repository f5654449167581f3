"""A run that was interrupted goes on: the same MLflow run, the same losses, none twice."""

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.entities import Run

from tests.flows.conftest import Workspace, eventually

Start = Callable[..., subprocess.Popen]
# Of 25 batches an epoch: a checkpoint after every step falls into the middle of epochs.
NET = (
    "configs/bikes.yaml", "model.hidden=[32]", "model.dropout=0.1",
    "training.batch_size=256", "training.epochs=25", "training.checkpoint_every=0",
)  # fmt: skip


def curves(workspace: Workspace, run: Run) -> dict[str, list[tuple[int, float]]]:
    """What MLflow has of every epoch, as it was stored: an epoch that was sent twice is twice."""
    found = {}
    for name in ("loss", "validation_loss"):
        history = workspace.client.get_metric_history(run.info.run_id, name)
        found[name] = sorted((metric.step, metric.value) for metric in history)
    return found


@pytest.mark.slow
def test_killed_twice_it_ends_as_if_it_never_was(workspace: Workspace, started: Start) -> None:
    whole = workspace.pipeline(*NET, "experiment=whole")
    assert whole.status == 0, whole.err
    process = started("flows.pipeline", *NET, "experiment=killed-twice")
    run = eventually(lambda: begun(workspace, "killed-twice", epochs=3))
    process.kill()
    process.communicate()
    assert workspace.client.get_run(run.info.run_id).data.tags.get("epochs_run") is None
    process = started("flows.resume")  # the newest
    eventually(lambda: begun(workspace, "killed-twice", epochs=12))
    process.kill()
    process.communicate()
    done = workspace.run("flows.resume", run.info.run_id[:8])
    assert done.status == 0, done.err
    (again,), (expected,) = workspace.runs("killed-twice"), workspace.runs("whole")
    assert again.info.run_id == run.info.run_id
    assert again.info.status == "FINISHED"
    assert curves(workspace, again) == curves(workspace, expected)
    own = ("files_", "rows_", "system/")  # the second time the file was known
    assert {n: v for n, v in again.data.metrics.items() if not n.startswith(own)} == {
        n: v for n, v in expected.data.metrics.items() if not n.startswith(own)
    }
    assert len(again.outputs.model_outputs) == 1
    over = workspace.run("flows.resume", run.info.run_id)
    assert (over.status, len(over.err.splitlines())) == (2, 1)
    assert "an interrupted run of this store" in over.err
    folders = workspace.root / ".plumbline" / "checkpoints"
    assert not [*folders.glob(f"*/{run.info.run_id}")]


def begun(workspace: Workspace, experiment: str, epochs: int) -> Run | None:
    """The experiment's run once so many epochs can be seen."""
    runs = workspace.runs(experiment)
    return runs[0] if runs and len(workspace.losses(runs[0])) >= epochs else None


@pytest.mark.slow
def test_files_that_changed_meanwhile_are_said(workspace: Workspace, started: Start) -> None:
    rows = workspace.root / "mine.csv"
    rows.write_text("x,y\n" + "".join(f"{n},{n % 7}\n" for n in range(500)))
    config = Path(workspace.root / "mine.yaml")
    config.write_text("experiment: mine\ndata: {kind: table, path: mine.csv, target: y}\n")
    process = started("flows.pipeline", "mine.yaml", "training.epochs=100000000")
    run = eventually(lambda: begun(workspace, "mine", epochs=1))
    process.terminate()
    out, _ = process.communicate(timeout=60)
    assert re.search(rf"resume RUN={run.info.run_id[:8]}$", out.strip())
    time.sleep(0.01)
    rows.write_text("x,y\n1,2\n3,4\n")
    done = workspace.run("flows.resume", run.info.run_name)
    assert (done.status, len(done.err.splitlines())) == (2, 1)
    assert "changed since it was interrupted. Run the experiment again" in done.err
    assert workspace.client.get_run(run.info.run_id).info.status == "FAILED"
