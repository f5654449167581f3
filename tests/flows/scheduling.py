"""make schedule as a user has it: a process, what it says, and Prefect's API."""

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.flows.conftest import Workspace, eventually

UNDER_WAY = ("PENDING", "RUNNING", "CANCELLING")
CONFIG = """
experiment: {name}
data: {{kind: table, path: {name}, target: y, test_fraction: 0.2}}
training: {{epochs: 500, learning_rate: 0.01}}
registry: {{model: {name}}}
schedule: {{every: 4}}
"""


def write_file(path: Path, rows: int = 100, seed: int = 0) -> None:
    """A Parquet file of y = 2x + 1 and noise; it appears whole."""
    random = np.random.default_rng(seed)
    x = random.normal(size=rows)
    path.parent.mkdir(exist_ok=True)
    scratch = path.with_name(f"_{path.name}")
    pq.write_table(pa.table({"x": x, "y": 2 * x + 1 + random.normal(size=rows)}), scratch)
    scratch.rename(path)


class Scheduled:
    """A schedule of its own name, with a folder of files, in a workspace."""

    def __init__(self, workspace: Workspace, name: str, files: int = 2) -> None:
        self.workspace, self.name = workspace, name
        self.folder = workspace.root / name
        for number in range(files):
            write_file(self.folder / f"part-{number:02}.parquet", seed=number)
        self.config = f"{name}.yaml"
        (workspace.root / self.config).write_text(CONFIG.format(name=name))
        self.lines: list[str] = []
        self.process: subprocess.Popen | None = None

    def start(self, *overrides: str) -> "Scheduled":
        """Start it and wait until it says where the UI is."""
        self.process = self.workspace.start("flows.schedule", self.config, *overrides)
        self.lines = []
        for stream in (self.process.stdout, self.process.stderr):
            threading.Thread(target=self._collect, args=(stream,), daemon=True).start()
        eventually(lambda: self.said("Ctrl-C stops it"))
        return self

    def _collect(self, stream: Any) -> None:
        for line in stream:
            self.lines.append(line.rstrip())

    def said(self, text: str) -> list[str]:
        """The lines that hold a text."""
        return [line for line in list(self.lines) if text in line]

    def api(self, path: str, method: str = "POST", **body: Any) -> Any:
        """Ask Prefect's server, as its UI does; again while it is busy, as Prefect's clients do."""
        address = re.search(r"http://[\d.:]+", self.said("Prefect:")[0])[0]
        request = Request(
            f"{address}/api/{path}",
            json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            method=method,
        )
        return json.loads(eventually(lambda: _answer(request)))

    @property
    def deployment(self) -> tuple[str, bool]:
        """(id, whether it is paused)."""
        query = "SELECT id, paused FROM deployment WHERE name = ?"
        found, paused = self.workspace.prefect(query, self.name)[0]
        return found, bool(paused)

    def flow_runs(self, *types: str) -> list[dict[str, Any]]:
        """Flow runs that were not just planned, the oldest first."""
        columns = ("id", "state_type", "state_name", "start_time", "end_time", "due", "message")
        rows = self.workspace.prefect(
            "SELECT r.id, r.state_type, r.state_name, r.start_time, r.end_time, "
            "r.expected_start_time, s.message FROM flow_run r "
            "JOIN deployment d ON d.id = r.deployment_id "
            "LEFT JOIN flow_run_state s ON s.id = r.state_id "
            "WHERE d.name = ? AND r.state_type != 'SCHEDULED' ORDER BY r.expected_start_time",
            self.name,
        )
        found = [dict(zip(columns, row, strict=True)) for row in rows]
        return [run for run in found if not types or run["state_type"] in types]

    def completed(self, more_than: int = 0) -> list[dict[str, Any]]:
        """Completed flow runs, once there are more than so many."""
        return eventually(lambda: _more(self.flow_runs("COMPLETED"), more_than))

    def children(self, module: str) -> list[int]:
        """Process ids of a module that run for this schedule's process."""
        return [
            pid
            for pid in _descendants(self.process.pid)
            if module in Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        ]

    def retraining(self) -> int:
        """The process of a run that has begun to train."""

        def training() -> int | None:
            runs = self.workspace.runs(self.name)
            busy = runs and runs[0].info.status == "RUNNING" and "loss" in runs[0].data.metrics
            return next(iter(self.children("flows.retraining")), None) if busy else None

        return eventually(training)

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> int:
        """Stop it; its exit status, within the ten seconds that are promised."""
        self.process.send_signal(sign)
        return self.process.wait(timeout=10)

    def kill_all(self) -> None:
        """SIGKILL to everything that belongs to it; shows what it said, for a test that fails."""
        print(*self.lines, sep="\n")
        for pid in [self.process.pid, *_descendants(self.process.pid)]:
            kill(pid)
        self.process.wait()


def kill(pid: int) -> None:
    """SIGKILL to a process that may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _more(found: list, than: int) -> list:
    return found if len(found) > than else []


def _descendants(pid: int) -> Iterator[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in map(int, children):
        yield child
        yield from _descendants(child)


def _answer(request: Request) -> bytes | None:
    """What a server answers; None where its database was locked just then, and nothing was done."""
    try:
        with urlopen(request, timeout=20) as answer:
            return answer.read() or b"null"
    except HTTPError as error:
        if error.code == HTTPStatus.SERVICE_UNAVAILABLE:
            return None
        raise
