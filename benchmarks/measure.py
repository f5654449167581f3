"""Run commands, measure what each costs, and compare contenders that are run in turn.

This process imports nothing large: on Linux a child's peak memory starts at its parent's size.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "benchmarks" / "data"
SCRATCH = DATA / "scratch"  # the benchmark's own Prefect home, MLflow store and working directory
KIBIBYTE_UNITS = 1024 if sys.platform != "darwin" else 1  # of ru_maxrss


@dataclass(frozen=True)
class Spent:
    """The cost of one process.

    Attributes:
        seconds: wall-clock time from start to end.
        processor: seconds of processor time, including children that it waited for.
        peak: peak resident memory in MiB, by the system's accounting, of its largest process.
        said: the JSON of its last line; {} if there is none.
    """

    seconds: float
    processor: float
    peak: float
    said: Mapping


@dataclass(frozen=True)
class Ratio:
    """The median, least and largest ratio of neighbouring runs."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})"


def environment() -> dict[str, str]:
    """The environment of every contender: this one's, with separate stores and no telemetry."""
    taken = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}
    return taken | {
        "PYTHONPATH": str(ROOT),
        "PREFECT_HOME": str(SCRATCH / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "MLFLOW_TRACKING_URI": f"sqlite:///{SCRATCH / 'mlflow.db'}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }


def fresh_scratch() -> None:
    """Empty the scratch folder."""
    shutil.rmtree(SCRATCH, ignore_errors=True)
    SCRATCH.mkdir(parents=True)


def run(*arguments: object) -> Spent:
    """Run python with these arguments in the scratch folder.

    Raises:
        RuntimeError: it failed; with the end of its output.
    """
    command = [sys.executable, *map(str, arguments)]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        began = time.perf_counter()
        child = subprocess.Popen(command, cwd=SCRATCH, env=environment(), stdout=out, stderr=err)
        _, status, used = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            err.seek(0)
            raise RuntimeError(f"{' '.join(command)} ended with {status}:\n{err.read()[-2000:]}")
        out.seek(0)
        said = (out.read().strip().splitlines() or [""])[-1]
    peak = used.ru_maxrss * KIBIBYTE_UNITS / 2**20
    processor = used.ru_utime + used.ru_stime
    return Spent(seconds, processor, peak, json.loads(said) if said.startswith("{") else {})


def in_turn(
    jobs: Mapping[str, Callable[[], Spent]], rounds: int, warm: bool = True
) -> dict[str, list[Spent]]:
    """Run A B C A B C ...; the first round, which warms disks and databases, does not count."""
    spent: dict[str, list[Spent]] = {name: [] for name in jobs}
    for number in range(-1 if warm else 0, rounds):
        for name, job in jobs.items():
            measured = job()
            if number >= 0:
                spent[name].append(measured)
    return spent


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """The ratio of ours to theirs, run by run."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def seconds(spent: Sequence[Spent]) -> list[float]:
    """The wall-clock time of each process."""
    return [each.seconds for each in spent]


def processor(spent: Sequence[Spent]) -> list[float]:
    """The processor time of each process."""
    return [each.processor for each in spent]


def said(spent: Sequence[Spent], key: str) -> list[float]:
    """One number from the output of each process."""
    return [each.said[key] for each in spent]


def median(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)
