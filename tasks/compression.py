"""Rows to R factors: a Prefect task for each file that is new, the cache for the others."""

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

from prefect import task, unmapped
from prefect.results import ResultStore, get_result_store

from regression.compress import VERSION, Compressed, combine, compress
from regression.config import Split, SyntheticData, TableData
from regression.encoding import Encoding
from regression.factor import MERGED_AT_ONCE
from regression.rows import Source
from regression.table import Table
from tasks.screen import bar


@dataclass(frozen=True)
class Prepared:
    """The data as training sees it.

    Attributes:
        rows: the merged factors of all parts, in the model's features.
        encoding: from raw columns to those features.
        source: where the rows came from.
        counts: files_new, files_reused, rows_new, rows_reused, rows_dropped.
    """

    rows: Compressed
    encoding: Encoding
    source: Source
    counts: dict[str, int]


@dataclass
class Reading:
    """What mapped tasks share: how many rows are read, and whether to stop."""

    show: Any
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


def cache_key(source: Source, part: str, split: Split) -> str | None:
    """What a part's result depends on; None for generated rows, which are not kept.

    The file's identity (path, size, modification time), what is read of it, the split and the
    version of the computation. The device is not in it: the factors of any are equally good.
    """
    if not isinstance(source, Table):
        return None
    shares = {name: getattr(split, name) for name in Split.model_fields}
    told = [
        VERSION,
        asdict(source.file(part)),
        source.missing,
        shares,
        source.columns.kinds,
        source.columns.numeric,
        source.columns.categorical,
        sorted(source.columns.whole),
    ]
    return "factor-" + hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _may_pass(task: Any, task_run: Any, state: Any) -> bool:
    """Retry what may go away (a file that cannot be read just now), never wrong data."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, OSError) and not isinstance(error, InterruptedError)


@task(
    name="compress",
    task_run_name="compress {part}",
    cache_key_fn=lambda context, given: cache_key(given["source"], given["part"], given["split"]),
    persist_result=True,
    result_serializer="json",
    cache_result_in_memory=False,
    retries=3,
    retry_delay_seconds=[0.2, 1, 5],
    retry_condition_fn=_may_pass,
)
def compress_part(
    source: Source, part: str, split: Split, device: str, reading: Reading
) -> dict[str, Any]:
    """One pass over one part; plain values, so that the cache holds JSON and never a pickle."""
    return compress(source, part, split, device, reading.advance).to_dict()


@task
def merge(parts: Iterator[Compressed]) -> Compressed:
    """The whole of all parts, in their order."""
    return combine(parts)


def compress_all(source: Source, data: SyntheticData | TableData, device: str) -> Prepared:
    """Compress every part that is new, take the others from the cache, merge."""
    store = get_result_store().update_for_task(compress_part)
    known = [part for part in source.parts if _is_known(store, source, part, data)]
    counts = {
        "files_new": len(source.parts) - len(known),
        "files_reused": len(known),
        "rows_new": 0,
        "rows_reused": 0,
    }
    with bar("Reading rows", None) as shown:
        reading = Reading(shown.show)
        try:
            whole = merge(_parts(source, data, device, set(known), store, counts, reading))
        except BaseException:
            reading.stopped.set()
            raise
    encoding = Encoding.of(whole.columns[:-1], data)
    rows = whole.select((*encoding.features, whole.columns[-1]))
    return Prepared(rows, encoding, source, {**counts, "rows_dropped": whole.dropped})


def _is_known(store: ResultStore, source: Source, part: str, split: Split) -> bool:
    key = cache_key(source, part, split)
    return key is not None and store.exists(key)


def _parts(
    source: Source,
    data: SyntheticData | TableData,
    device: str,
    known: set[str],
    store: ResultStore,
    counts: dict[str, int],
    reading: Reading,
) -> Iterator[Compressed]:
    """Every part in order, 64 at a time: read from the cache here, compressed by mapped tasks.

    A known part gets no task run: one would cost more than reading the result.
    """
    work = (
        compress_part
        if isinstance(source, Table)
        else compress_part.with_options(persist_result=False, cache_key_fn=None)
    )
    split = Split(**{name: getattr(data, name) for name in Split.model_fields})
    parts = iter(source.parts)
    while wave := list(islice(parts, MERGED_AT_ONCE)):
        new = [part for part in wave if part not in known]
        futures = (
            work.map(unmapped(source), new, unmapped(split), unmapped(device), unmapped(reading))
            if new
            else []
        )
        fresh = dict(zip(new, futures, strict=True))
        for part in wave:
            share = "new" if part in fresh else "reused"
            values = fresh[part].result() if part in fresh else _read(store, source, part, data)
            compressed = Compressed.from_dict(values)
            counts[f"rows_{share}"] += compressed.rows + compressed.dropped
            yield compressed


def _read(store: ResultStore, source: Source, part: str, split: Split) -> dict[str, Any]:
    return store.read(cache_key(source, part, split)).result
