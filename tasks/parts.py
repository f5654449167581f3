"""The Prefect task that reads: it runs on a thread here or on a worker of a Ray cluster.

A worker keeps the summary of each file in the storage of Prefect's results, under what it depends
on. So a file is read once, and what dies with a worker are the files that it had not finished. This
module imports no mlflow, so that workers start fast.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from prefect import task

from plumbline.config.schema import Split
from plumbline.data.blocks import Source
from plumbline.data.table import Table
from plumbline.linear.compress import VERSION, compress
from plumbline.linear.summary import Summary
from tasks.factor_cache import FactorCache

Keys = Mapping[str, str | None]  # parts in their order; where each one's result is kept, if it is


@dataclass
class Reading:
    """What the tasks of this process share: how many rows are read, and whether to stop."""

    show: Callable[[int], None] = lambda rows: None
    rows: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def advance(self, rows: int) -> None:
        """Count rows; raises InterruptedError once the command was interrupted."""
        if self.stopped.is_set():
            raise InterruptedError("reading was interrupted")
        with self._lock:
            self.rows += rows
            self.show(self.rows)


# Prefect hands the context on to its threads. A worker elsewhere has none: it tells nobody and is
# stopped by Ray.
_reading: ContextVar[Reading | None] = ContextVar("reading", default=None)


@contextmanager
def showing(show: Callable[[int], None]) -> Iterator[Reading]:
    """Tell how many rows are read in this process; tasks stop where the body ends in an error."""
    reading = Reading(show)
    token = _reading.set(reading)
    try:
        yield reading
    except BaseException:
        reading.stopped.set()
        raise
    finally:
        _reading.reset(token)


def part_key(source: Source, part: str, split: Split) -> str | None:
    """What a part's result depends on; None for generated rows, which are not kept.

    The file's identity (path, size, modification time), what is read of it, the split and the
    version of the computation. The device is not in it: the factors of any are equally good.
    """
    if not isinstance(source, Table):
        return None
    told = [
        VERSION,
        asdict(source.file(part)),
        source.missing,
        split.model_dump(),
        source.columns.kinds,
        source.columns.numeric,
        source.columns.categorical,
        sorted(source.columns.whole),
        sorted(source.columns.texts),
        asdict(source.columns.dialect),
    ]
    return "factor-" + hashlib.sha256(json.dumps(told).encode()).hexdigest()


def label_of(source: Source, parts: Sequence[str]) -> str:
    """Some parts in a few words, such as `part-0001.parquet and 63 more`."""
    if not isinstance(source, Table):
        return "generated rows"
    more = f" and {len(parts) - 1} more" if len(parts) > 1 else ""
    return source.file(parts[0]).name + more


def only(source: Source, parts: Iterable[str]) -> Source:
    """The same source with no other parts, for a worker that is to know of no others."""
    if not isinstance(source, Table):
        return source
    return replace(source, files=tuple(map(source.file, parts)), left_out=())


def _may_pass(task: Any, task_run: Any, state: Any) -> bool:
    """Retry what may go away (a file that cannot be read just now), never wrong data."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, OSError) and not isinstance(error, InterruptedError)


POLICY = {
    "persist_result": False,
    "cache_result_in_memory": False,
    "retries": 3,
    "retry_delay_seconds": [0.2, 1, 5],
    "retry_condition_fn": _may_pass,
}


@task(name="compress", task_run_name="compress {label}", **POLICY)
def compress_files(
    source: Source, keys: Keys, split: Split, device: str, label: str
) -> list[Summary]:
    """Compress some parts and keep each summary.

    Where this is another try, what the first one kept is not read again.

    Args:
        source: has the parts.
        keys: the parts in their order, and where the summary of each is kept.
        split: which rows are held out.
        device: where blocks are folded.
        label: the parts in a few words, for the task's name.
    """
    cache, reading = FactorCache.current(), _reading.get() or Reading()
    summaries = []
    for part, key in keys.items():
        summary = cache.read(key)
        if summary is None:
            summary = compress(source, part, split, device, reading.advance)
            cache.write(key, summary)
        summaries.append(summary)
    return summaries
