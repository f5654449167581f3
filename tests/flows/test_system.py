"""The whole system under what really happens: kills at any moment, a first start twice at once,
a fresh clone, more data than memory should notice. Slow; `make test-slow` runs these."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.flows.conftest import ROOT, Workspace, cloned, eventually

pytestmark = pytest.mark.slow
Start = Callable[..., subprocess.Popen]
FOLDER = "experiment: folder\ndata: {kind: table, path: many, target: y}\ntraining: {epochs: 5}\n"
FILES = 300
PASS = """
import resource, sys
from plumbline.data.columns import choose_columns
from plumbline.linear.compress import compress
from plumbline.linear.summary import combine
from plumbline.config.schema import TableData
from plumbline.data.files import find_files
from plumbline.data.sources import Table
data = TableData(kind="table", path=sys.argv[1], target="y")
files = find_files(data.path)
table = Table(files, choose_columns(data, files))
whole = combine(compress(table, part, data) for part in table.parts)
print(whole.rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def write_files(folder: Path, files: int, rows: int) -> None:
    """Parquet files of four features and a target."""
    folder.mkdir(exist_ok=True)
    random_numbers = np.random.default_rng(0)
    for number in range(files):
        x = random_numbers.normal(size=(rows, 4))
        columns = {f"x{i}": x[:, i] for i in range(4)} | {"y": x.sum(axis=1)}
        pq.write_table(pa.table(columns), folder / f"part-{number:04}.parquet")


def states_under_way(workspace: Workspace) -> list[str]:
    """Flow runs that Prefect still says are under way."""
    wanted = "('RUNNING', 'PENDING', 'CANCELLING')"
    return [row[0] for row in workspace.prefect(
        f"SELECT id FROM flow_run WHERE state_type IN {wanted}"
    )]  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_kill_9_at_any_moment_leaves_nothing_running_for_ever(
    workspace: Workspace, started: Start, seed: int
) -> None:
    moment = random.Random(seed).uniform(0.2, 12)
    print(f"seed {seed}: killed after {moment:.2f} s")
    process = started("flows.pipeline", "configs/tutorial.yaml", f"experiment=kill-{seed}")
    time.sleep(moment)
    process.kill()
    process.communicate()
    eventually(lambda: not workspace.processes())
    assert workspace.pipeline("configs/tutorial.yaml", "training.epochs=1").status == 0
    for run in workspace.runs(f"kill-{seed}"):
        assert run.info.status in ("KILLED", "FINISHED")
        epochs = [epoch for epoch, _ in workspace.losses(run)]
        assert epochs == list(range(1, len(epochs) + 1))
    assert states_under_way(workspace) == []


def test_a_killed_run_resumes_from_the_files_it_finished(
    workspace: Workspace, started: Start
) -> None:
    write_files(workspace.root / "many", files=1, rows=200_000)
    for number in range(1, FILES):
        name = f"part-{number:04}.parquet"
        os.link(workspace.root / "many" / "part-0000.parquet", workspace.root / "many" / name)
    (workspace.root / "many.yaml").write_text(FOLDER)
    storage = workspace.root / ".prefect" / "storage"

    def finished() -> int:
        return len(list(storage.glob("factor-*")))

    before = finished()
    process = started("flows.pipeline", "many.yaml")
    eventually(lambda: finished() >= before + 5)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    done = finished() - before
    assert done < FILES
    assert workspace.pipeline("many.yaml").status == 0
    metrics = workspace.runs("folder")[0].data.metrics
    assert metrics["files_reused"] >= done - 2  # one a worker may have been half written
    assert metrics["files_new"] + metrics["files_reused"] == FILES
    assert metrics["rows_new"] + metrics["rows_reused"] == FILES * 200_000


def test_a_folder_read_on_one_and_on_many_days_gives_the_same_model(workspace: Workspace) -> None:
    folder = workspace.root / "many"
    shutil.rmtree(folder, ignore_errors=True)
    write_files(folder, files=8, rows=1_000)
    (workspace.root / "many.yaml").write_text(FOLDER)
    held_back = folder / "part-0007.parquet"
    held_back.rename(workspace.root / "part-0007.parquet")
    assert workspace.pipeline("many.yaml", "experiment=days").status == 0
    (workspace.root / "part-0007.parquet").rename(held_back)
    assert workspace.pipeline("many.yaml", "experiment=days").status == 0
    counted = workspace.runs("days")[0].data.metrics
    assert (counted["files_new"], counted["files_reused"]) == (1, 7)
    for path in (workspace.root / ".prefect" / "storage").iterdir():
        path.unlink()
    assert workspace.pipeline("many.yaml", "experiment=days").status == 0
    again, before = workspace.runs("days")[:2]
    assert again.data.metrics["files_reused"] == 0
    assert again.data.metrics["train_mse"] == before.data.metrics["train_mse"]
    assert again.data.tags["data_digest"] == before.data.tags["data_digest"]


def test_two_first_starts_at_once_both_finish(tmp_path: Path) -> None:
    with cloned(tmp_path) as empty:
        commands = [empty.start("flows.pipeline", "configs/tutorial.yaml") for _ in range(2)]
        for process in commands:
            _, err = process.communicate(timeout=180)
            assert (process.returncode, err) == (0, "")
        assert [run.info.status for run in empty.runs("tutorial")] == ["FINISHED", "FINISHED"]


def test_memory_does_not_grow_with_rows(tmp_path: Path) -> None:
    write_files(tmp_path / "small", files=2, rows=200_000)
    big = tmp_path / "big"
    big.mkdir()
    for number in range(100):
        source = tmp_path / "small" / f"part-{number % 2:04}.parquet"
        os.link(source, big / f"part-{number:04}.parquet")
    peaks = {}
    for folder in ("small", "big"):
        out = subprocess.check_output(
            [sys.executable, "-c", PASS, str(tmp_path / folder)], cwd=ROOT, text=True
        )
        rows, peaks[folder] = map(int, out.split())
        assert rows == (400_000 if folder == "small" else 20_000_000)
    assert peaks["big"] <= 1.2 * peaks["small"]


def test_a_fresh_clone_in_an_empty_folder_runs_with_the_readmes_command(tmp_path: Path) -> None:
    clone = tmp_path / "plumbline"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    ours = ("PREFECT_", "MLFLOW_", "VIRTUAL_ENV")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    for _ in range(2):
        done = subprocess.run(
            ["make", "run-pipeline"],
            cwd=clone,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "Predicted value for input 5.0: 9.9608" in done.stdout
    assert "Preparing" not in done.stdout
    status = subprocess.check_output(["git", "status", "--porcelain"], cwd=clone, text=True)
    assert status == ""
