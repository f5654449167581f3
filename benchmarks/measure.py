"""Run a command and say what it cost; run contenders in turn and say how they compare.

This process imports nothing big: on Linux a child's peak memory starts at its parent's size.
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
    """What one process cost.

    Attributes:
        seconds: from its start to its end, as the clock on the wall has it.
        processor: seconds of processor time, of children that it waited for as well.
        peak: resident MiB at most, by the system's accounting (its largest process).
        said: the JSON of its last line; {} where there is none.
    """

    seconds: float
    processor: float
    peak: float
    said: Mapping


@dataclass(frozen=True)
class Ratio:
    """Median, least and largest of the ratios of neighbouring runs."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})"


def environment() -> dict[str, str]:
    """This one's, with stores of the benchmark's own and nothing sent anywhere, for all alike."""
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
        RuntimeError: it failed; with the end of what it said.
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
    """Run A B C A B C ...; a first round that counts for nothing warms disks and databases."""
    spent: dict[str, list[Spent]] = {name: [] for name in jobs}
    for number in range(-1 if warm else 0, rounds):
        for name, job in jobs.items():
            measured = job()
            if number >= 0:
                spent[name].append(measured)
    return spent


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """How ours compares with theirs, run by run."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def seconds(spent: Sequence[Spent]) -> list[float]:
    """The whole process's seconds."""
    return [each.seconds for each in spent]


def processor(spent: Sequence[Spent]) -> list[float]:
    """The whole process's seconds of processor time."""
    return [each.processor for each in spent]


def said(spent: Sequence[Spent], key: str) -> list[float]:
    """One number of what each process said."""
    return [each.said[key] for each in spent]


def median(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)
