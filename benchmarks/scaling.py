"""Scaling: the cost of each step, and the prediction for a cluster (docs/scaling.md).

`python -m benchmarks.scaling costs FEATURES` and `... task-runs threads|ray` are one trial each and
print one line of JSON. Costs are processor seconds, which other work on the machine changes less
than seconds on the clock.
"""

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.measure import fresh_scratch, median, run, said
from benchmarks.report import Table
from benchmarks.tables import table

FEATURES = (5, 20, 80, 320)
CELLS = 20_000_000  # rows times features of the file that is read
TASK_RUNS = 200
EPOCHS = 1000
BATCH, GROUP = 1 << 30, 64  # bytes of files in a task, and their number, at most
GOAL = {"rows": 10**12, "machines": 1_000, "cores": 16, "features": 20}
FILE_BYTES = (256 << 20, 16 << 20)

Costs = dict[str, float]


def measure(rounds: int) -> list[Table]:
    """The costs by number of features, those of a task run, and the prediction."""
    fresh_scratch()
    by_width = {d: _median_of(rounds, "costs", d) for d in FEATURES}
    runners = ["threads", *(["ray"] if find_spec("prefect_ray") else [])]
    by_runner = {name: _median_of(rounds, "task-runs", name) for name in runners}
    names = {
        "row": ("rows a second and core", lambda v: f"{1 / v:,.0f}"),
        "file": ("a file, beside its rows (ms)", lambda v: f"{1e3 * v:.1f}"),
        "planned": ("a file, in the command (ms)", lambda v: f"{1e3 * v:.2f}"),
        "merge": ("merging 64 files (ms)", lambda v: f"{1e3 * v:.0f}"),
        "bytes": ("a result (kB)", lambda v: f"{v / 1e3:,.0f}"),
        "epochs": (f"{EPOCHS:,} epochs (s)", lambda v: f"{v:.2f}"),
    }
    lines = [
        [what, *(shown(by_width[d][key]) for d in FEATURES)] for key, (what, shown) in names.items()
    ]
    heads = ("processor time of one core", *(f"{d} features" for d in FEATURES))
    runs = [
        [name, *(f"{1e3 * spent[where]:.1f}" for where in ("command", "server"))]
        for name, spent in by_runner.items()
    ]
    note = f"Median of {rounds} processes."
    return [
        Table("Scaling: costs", heads, lines, note),
        Table("Scaling: a task run", RUN_HEADS, runs, f"{TASK_RUNS} that do nothing. {note}"),
        predicted(by_width[GOAL["features"]], by_runner[runners[-1]]),
    ]


RUN_HEADS = ("runner", "in the command (ms)", "in Prefect's server (ms)")


def _median_of(rounds: int, *arguments: object) -> Costs:
    spent = [run("-m", "benchmarks.scaling", *arguments) for _ in range(rounds)]
    return {key: median(said(spent, key)) for key in spent[0].said}


def predicted(costs: Costs, task_run: Costs) -> Table:
    """Seconds of each step for the goal, with large files and with small ones."""
    lines = []
    for size in FILE_BYTES:
        files = GOAL["rows"] * costs["row_bytes"] / size
        cores = GOAL["machines"] * GOAL["cores"]
        tasks = files / min(GROUP, BATCH / size)
        steps = {
            "compress": (GOAL["rows"] * costs["row"] + files * costs["file"]) / cores,
            "plan": files * costs["planned"],
            "submit": tasks * task_run["command"],
            "Prefect's server": tasks * task_run["server"],
            "merge in the command": files / GROUP * costs["merge"],
            "train": costs["epochs"],
        }
        shown = [f"{value:,.0f}" for value in steps.values()]
        lines.append([f"{files:,.0f} of {size >> 20} MiB", f"{tasks:,.0f}", *shown])
    title = "Scaling: {rows:,} rows × {features} features on {machines:,} machines × {cores} cores"
    heads = ("files", "task runs", *(f"{name} (s)" for name in steps))
    note = "What the costs above predict; nothing of this size was run."
    return Table(title.format(**GOAL), heads, lines, note)


def costs(features: int) -> Costs:
    """Processor seconds a row, a file, 64 files merged and 1,000 epochs, on one core."""
    from prefect.filesystems import LocalFileSystem

    from plumbline.config.schema import TableData, Training
    from plumbline.data.columns import choose_columns
    from plumbline.data.files import find_files
    from plumbline.data.sources import Table as Rows
    from plumbline.linear.compress import compress
    from plumbline.linear.summary import Summary, combine
    from plumbline.training.loop import train_linear
    from plumbline.training.plan import make_plan
    from tasks.compressing import part_key
    from tasks.factor_cache import FactorCache

    def opened(folder: Path) -> tuple[TableData, Rows]:
        data = TableData(kind="table", path=str(folder), target="y")
        files = find_files(data.path)
        return data, Rows(files, choose_columns(data, files))

    rows = CELLS // features
    data, many = opened(table(rows, features, files=1))
    compress(many, many.parts[0], data)  # warm
    whole, spent = _timed(lambda: compress(many, many.parts[0], data))
    training = Training(learning_rate="auto", epochs=EPOCHS, standardize=True, tolerance=None)
    plan = make_plan(whole, training)
    train_linear(plan, training.model_copy(update={"epochs": 1}), "cpu", lambda epoch, loss: None)
    _, epochs = _timed(lambda: train_linear(plan, training, "cpu", lambda epoch, loss: None))

    _, few = opened(table(GROUP * 100, features, files=GROUP))
    with tempfile.TemporaryDirectory() as folder:
        cache = FactorCache(LocalFileSystem(basepath=folder))
        keys = [part_key(few, file, data) for file in few.files]

        def keep(result: Summary, key: str) -> None:
            cache.write(key, result.to_bytes())
            cache.read(key)

        results, files = _timed(lambda: [compress(few, part, data) for part in few.parts])
        # each as large as that of a large file: a full sample
        _, kept = _timed(lambda: [keep(whole, key) for key in keys])
        _, merging = _timed(lambda: combine([whole] * GROUP))
        _, planning = _timed(lambda: [cache.use(part_key(few, f, data)) for f in few.files])
        size = (Path(folder) / keys[0]).stat().st_size
    return {
        "row": spent / rows,
        "row_bytes": many.files[0].size / rows,
        "file": (files + kept) / len(results),
        "planned": planning / len(keys),
        "merge": merging,
        "bytes": float(size),
        "epochs": epochs,
    }


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.process_time()
    result = work()
    return result, time.process_time() - began


def task_runs(runner: str) -> Costs:
    """Processor seconds of one task run that does nothing, here and in Prefect's server."""
    from flows.support.command import prepare_environment
    from flows.support.ray import on_cluster
    from flows.support.running import servers
    from plumbline.config.running import RunsOn

    prepare_environment()
    with servers(RunsOn(runner=runner)):
        from prefect import flow
        from prefect.task_runners import ThreadPoolTaskRunner

        from tasks.trials import trial

        @flow(task_runner=ThreadPoolTaskRunner(os.cpu_count()))
        def many() -> float:
            for number in range(4):
                trial.submit(number, "warm", tuple).result()
            began = time.process_time()
            for future in [trial.submit(n, "nothing", tuple) for n in range(TASK_RUNS)]:
                future.result()
            return (time.process_time() - began) / TASK_RUNS

        before = _server_time()
        return {
            "command": on_cluster(many)(),
            "server": (_server_time() - before) / TASK_RUNS,
        }


def _server_time() -> float:
    """Processor seconds of the Prefect server that this process started (Linux)."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state = (entry / "stat").read_text().rpartition(")")[2].split()
            started_here = int(state[1]) == os.getpid()
            if started_here and b"flows.support.web" in (entry / "cmdline").read_bytes():
                return sum(map(int, state[11:13])) / os.sysconf("SC_CLK_TCK")
    raise RuntimeError("this process started no Prefect server")


if __name__ == "__main__":
    trial_of, given = sys.argv[1:]
    print(json.dumps(costs(int(given)) if trial_of == "costs" else task_runs(given)))
