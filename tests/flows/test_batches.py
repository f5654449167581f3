"""Small files share a task; each keeps a result of its own."""

import pytest
from mlflow.entities import Run

from tests.flows.conftest import Done, Workspace
from tests.flows.test_system import write_files

pytestmark = pytest.mark.slow
FILES = 130
CONFIG = "experiment: batches\ndata: {kind: table, path: batches, target: y}\n"


def run(workspace: Workspace) -> tuple[Run, int]:
    """A run, and how many tasks it had for its files."""
    done = workspace.pipeline("batches.yaml", "training.epochs=5")
    assert done.status == 0, done
    found = workspace.runs("batches")[0]
    query = "SELECT name FROM task_run WHERE flow_run_id = ? AND name LIKE 'compress%'"
    return found, len(workspace.prefect(query, found.data.tags["prefect_flow_run_id"]))


def test_a_few_tasks_read_many_small_files_and_each_is_read_once(
    tutorial: tuple[Done, Run],  # the first of all: it records whether the clone is as committed
    workspace: Workspace,
) -> None:
    write_files(workspace.root / "batches", FILES, rows=50)
    (workspace.root / "batches.yaml").write_text(CONFIG)
    storage = workspace.root / ".prefect" / "storage"
    before = {path.name for path in storage.glob("*")}
    first, tasks = run(workspace)
    assert tasks == 3  # 64, 64 and 2 files
    counted = first.data.metrics
    assert (counted["files_new"], counted["rows_new"]) == (FILES, FILES * 50)
    made = sorted({path.name for path in storage.glob("*")} - before)
    assert len(made) == FILES
    damaged = storage / made[0]
    damaged.write_bytes(damaged.read_bytes()[:200])
    for new in (1, 0):
        again, tasks = run(workspace)
        counted = again.data.metrics
        assert tasks == new
        assert (counted["files_new"], counted["files_reused"]) == (new, FILES - new)
        assert (counted["rows_new"], counted["rows_reused"]) == (50 * new, 50 * (FILES - new))
        assert counted["train_mse"] == first.data.metrics["train_mse"]
        assert again.data.tags["data_digest"] == first.data.tags["data_digest"]
