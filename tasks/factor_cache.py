"""The files of Prefect's result cache that hold R factors: when each was last used, and deleting.

A file's modification time is the time of its last use. Only results on this machine are looked
after; a result storage elsewhere has rules of its own for how long things stay.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from prefect.filesystems import LocalFileSystem
from prefect.results import ResultStore, get_result_store

KINDS = ("factor-", "group-")
LONGEST_UNUSED = 90 * 86_400  # seconds


def mark_used(store: ResultStore, keys: Iterable[str]) -> None:
    """Say that cached results are in use now; those that are not there are passed over."""
    folder = _folder(store)
    for key in keys if folder else ():
        with contextlib.suppress(FileNotFoundError):
            os.utime(folder / key)


def stored(store: ResultStore, key: str) -> bool:
    """Whether there is a result; one on this machine is not opened for that."""
    folder = _folder(store)
    return (folder / key).exists() if folder else store.exists(key)


def delete_unused(used: Callable[[float], bool], store: ResultStore | None = None) -> int:
    """Delete the R factors whose last use (seconds since 1970) does not count; returns how many."""
    deleted = 0
    for path in _files(store or get_result_store()):
        with contextlib.suppress(FileNotFoundError):
            if not used(path.stat().st_mtime):
                path.unlink()
                deleted += 1
    return deleted


def delete_old(store: ResultStore) -> None:
    """Delete the R factors that no run has used for 90 days; their files would be read again."""
    oldest = time.time() - LONGEST_UNUSED
    delete_unused(lambda used: used >= oldest, store)


def _folder(store: ResultStore) -> Path | None:
    storage = store.result_storage
    local = isinstance(storage, LocalFileSystem) and storage.basepath
    return Path(storage.basepath).expanduser() if local else None


def _files(store: ResultStore) -> Iterator[Path]:
    folder = _folder(store)
    for kind in KINDS if folder else ():
        yield from folder.glob(f"{kind}*")
