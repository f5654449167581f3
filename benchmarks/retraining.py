"""Retraining: the data stage on 100 files, and again after one file was added.

`python -m benchmarks.retraining FOLDER` is one trial: a warm flow first, then both stages, each in
a flow run of its own against one server. Prints one line of JSON: seconds.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path

from benchmarks.measure import SCRATCH, fresh_scratch, median, ratio, run, said
from benchmarks.report import GOAL_COLUMNS, Table, goal
from benchmarks.tables import table

FILES = 100


def measure(rows: int, rounds: int) -> list[Table]:
    """Run trials one after another, each with its own empty cache."""
    fresh_scratch()
    folder = table(rows)
    run("-m", "benchmarks.retraining", folder)  # makes the server's database
    spent = [run("-m", "benchmarks.retraining", folder) for _ in range(rounds)]
    names = {"first": "100 new files", "again": "1 new, 100 known", "nothing": "101 known"}
    lines = [[name, f"{median(said(spent, key)):.3f}"] for key, name in names.items()]
    found = ratio(said(spent, "again"), said(spent, "first"))
    note = f"Seconds of the data stage inside a Prefect flow; {rounds} processes."
    return [
        Table(f"Retraining: {rows:,} rows in 100 files", ("data stage", "seconds"), lines, note),
        Table(
            "Retraining: goal", GOAL_COLUMNS, [goal("1 new file / first run", found, 0.05)], note
        ),
    ]


def trial(folder: Path) -> dict[str, float]:
    """Seconds of the data stage for all files, for one new file, and for none."""
    data = SCRATCH / "retraining"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir()
    os.environ["PREFECT_LOCAL_STORAGE_PATH"] = str(data / "cache")
    files = sorted(folder.glob("*.parquet"))[:FILES]
    for file in files:
        shutil.copy(file, data)

    from flows.support.command import prepare_environment
    from flows.support.server import prefect_server

    prepare_environment()
    with prefect_server():
        stage(data, seed=1)  # another split, so another cache key: warms the code alone
        first = stage(data)
        shutil.copy(files[0], data / "part9999.parquet")
        return {"first": first, "again": stage(data), "nothing": stage(data)}


def stage(folder: Path, seed: int = 42) -> float:
    """Find the files and compress those that are new, as the pipeline does; returns seconds."""
    from prefect import flow
    from prefect.task_runners import ThreadPoolTaskRunner

    from plumbline.config.schema import TableData
    from tasks.reading import compress_all, source_of

    data = TableData(kind="table", path=f"{folder}/*.parquet", target="y", seed=seed)

    @flow(task_runner=ThreadPoolTaskRunner(2))
    def data_stage() -> float:
        began = time.perf_counter()
        compress_all(source_of(data), data, "cpu")
        return time.perf_counter() - began

    return data_stage()


if __name__ == "__main__":
    print(json.dumps(trial(Path(sys.argv[1]))), flush=True)
