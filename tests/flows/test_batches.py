"""Small files share a task; each keeps a result of its own."""

import json
from pathlib import Path

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
    assert tasks == 3  # groups of 64, 64 and 2
    counted = first.data.metrics
    assert (counted["files_new"], counted["rows_new"]) == (FILES, FILES * 50)
    made = sorted({path.name for path in storage.glob("*")} - before)
    assert len(made) == FILES + 2 + 16  # the groups of 64, and each one's eights
    groups = {name: digests(storage / name) for name in made if name.startswith("group")}
    whole = [name for name, parts in groups.items() if len(parts) == 64]
    assert len(whole) == 2
    factors = (storage / name for name in made if name.startswith("factor"))
    damaged = next(path for path in factors if digests(path)[0] in groups[whole[0]])
    damaged.write_text(damaged.read_text()[:200])
    for lost, new in ((whole, 0), (set(groups).difference(whole), 1)):
        for group in lost:
            (storage / group).unlink()
        again, _ = run(workspace)
        counted = again.data.metrics
        assert (counted["files_new"], counted["files_reused"]) == (new, FILES - new)
        assert (counted["rows_new"], counted["rows_reused"]) == (50 * new, 50 * (FILES - new))
        assert counted["train_mse"] == first.data.metrics["train_mse"]
        assert again.data.tags["data_digest"] == first.data.tags["data_digest"]
        for group in whole:
            (storage / group).unlink()


def digests(result: Path) -> list[str]:
    """Of the parts that a stored result stands for."""
    return json.loads(json.loads(result.read_text())["result"])["digests"]
