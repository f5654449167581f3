"""Prefect tasks that read: they run on a thread here or on a worker of a Ray cluster.

A worker keeps what it made of each file in Prefect's result store, under what it depends on. So a
file is read once, and what dies with a worker are the files that it had not finished. This module
imports no mlflow, so that workers start fast.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from typing import Any

from prefect import task
from prefect.results import ResultStore, get_result_store

from plumbline.config.schema import Split
from plumbline.data.blocks import Source
from plumbline.data.table import Table
from plumbline.linear.compress import VERSION, compress
from plumbline.linear.factor import MERGED_AT_ONCE
from plumbline.linear.summary import GROUP, Summary, combine_eight

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


@dataclass(frozen=True)
class Group:
    """Up to 64 consecutive parts.

    Attributes:
        factors: all of them, merged.
        rows: of each part, dropped ones included; of eight that were kept together, of all, under
            the first of them.
        new: the parts that no result was stored of.
    """

    factors: Summary
    rows: dict[str, int]
    new: frozenset[str]


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


def group_key(keys: Sequence[str | None], whole: int, half_life: float | None) -> str | None:
    """Under which parts are kept, merged; None for fewer than a whole, and for what is not kept."""
    if len(keys) < whole or None in keys:
        return None
    told = "".join([*keys, str(half_life or "")])
    return "group-" + hashlib.sha256(told.encode()).hexdigest()


def weight(age: int, half_life: float | None) -> float:
    """Of a row with so many files after its own."""
    return 2.0 ** (-age / half_life) if half_life else 1.0


def result_store() -> ResultStore:
    """Where results are kept: JSON, because reading a pickle runs what is in it."""
    return get_result_store().update_for_task(compress_group)


def known(store: ResultStore, key: str | None) -> Summary | None:
    """A stored result; None where there is none."""
    if key is None:
        return None
    try:
        return Summary.from_dict(store.read(key).result)
    except (ValueError, FileNotFoundError):  # local storage and remote ones say it differently
        return None


def _may_pass(task: Any, task_run: Any, state: Any) -> bool:
    """Retry what may go away (a file that cannot be read just now), never wrong data."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, OSError) and not isinstance(error, InterruptedError)


POLICY = {
    "persist_result": False,
    "result_serializer": "json",
    "cache_result_in_memory": False,
    "retries": 3,
    "retry_delay_seconds": [0.2, 1, 5],
    "retry_condition_fn": _may_pass,
}


@task(name="compress", task_run_name="compress {source.label}", **POLICY)
def compress_files(source: Source, keys: Keys, split: Split, device: str) -> frozenset[str]:
    """Read the files that no result is stored of, and store it. Returns which they were."""
    return frozenset(part for part, _, new in _each(source, keys, split, device) if new)


@task(name="compress group", task_run_name="compress group {source.label}", **POLICY)
def compress_group(
    source: Source,
    eights: Sequence[Keys],
    new: Sequence[str],
    split: Split,
    device: str,
    half_life: float | None = None,
    before: Sequence[frozenset[str]] = (),
) -> Group:
    """Merge up to 64 parts by eights, reading those that no result is stored of.

    Args:
        source: has the parts.
        eights: the parts, up to 8 in a row that are merged, and kept, together.
        new: those of them that no result was stored of when the command began.
        split: which rows are held out.
        device: where blocks are folded.
        half_life: after how many files a row counts half; the last part's rows count one.
        before: what compress_files returned of some of them; the others are read here.
    """
    groups = [_eight(source, keys, new, split, device, half_life) for keys in eights]
    factors = _combined([each.factors for each in groups], map(len, eights), half_life)
    if key := group_key([key for keys in eights for key in keys.values()], GROUP, half_life):
        result_store().write(factors.to_dict(), key=key)
    rows = {part: count for each in groups for part, count in each.rows.items()}
    return Group(factors, rows, frozenset().union(*before, *(each.new for each in groups)))


def _eight(
    source: Source,
    keys: Keys,
    new: Sequence[str],
    split: Split,
    device: str,
    half_life: float | None,
) -> Group:
    """Up to 8 consecutive parts; all 8 are kept as one, too, so that few results are read again.

    Where some are new the kept one is of a task that died before this: it cannot say which rows.
    """
    store = result_store()
    key = group_key(list(keys.values()), MERGED_AT_ONCE, half_life)
    if keys.keys().isdisjoint(new) and (factors := known(store, key)):
        return Group(factors, {next(iter(keys)): factors.rows + factors.dropped}, frozenset())
    parts = list(_each(source, keys, split, device))
    factors = _combined([each for _, each, _ in parts], [1] * len(parts), half_life)
    if key:
        store.write(factors.to_dict(), key=key)
    rows = {part: each.rows + each.dropped for part, each, _ in parts}
    return Group(factors, rows, frozenset(part for part, _, just_now in parts if just_now))


def _combined(factors: Sequence[Summary], files: Iterable[int], half_life: float | None) -> Summary:
    """Merge what stands for so many files each; with a half-life, rows of the last count one."""
    if half_life:
        ends = list(accumulate(files))
        ages = [ends[-1] - end for end in ends]
        factors = [f.weighted(weight(a, half_life)) for f, a in zip(factors, ages, strict=True)]
    return combine_eight(factors)


def _each(
    source: Source, keys: Keys, split: Split, device: str
) -> Iterator[tuple[str, Summary, bool]]:
    """Every part, what it was compressed to, and whether that was done just now."""
    store, reading = result_store(), _reading.get() or Reading()
    for part, key in keys.items():
        result = known(store, key)
        new = result is None
        if new:
            result = compress(source, part, split, device, reading.advance)
            if key:
                store.write(result.to_dict(), key=key)
        yield part, result, new
