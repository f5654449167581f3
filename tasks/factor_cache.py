"""The cache of data files: a summary of each file, in the storage of Prefect's results, and the
counts of its levels if there are many.

They are binary, and Prefect's result records are JSON; so they are written to the storage
itself. A file's modification time there is the time of its last use. Only a storage on this machine
is kept small; one elsewhere has its own rules of retention.
"""

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect.filesystems import LocalFileSystem, WritableFileSystem
from prefect.results import get_default_result_storage, get_result_store

from plumbline.linear.summary import Summary

MOST_BYTES = 5 << 30


@dataclass(frozen=True)
class FactorCache:
    """Summaries, and what else is kept of files, by key.

    Attributes:
        storage: where results are kept.
    """

    storage: WritableFileSystem

    @classmethod
    def current(cls) -> "FactorCache":
        """The cache in the storage that flows and tasks here use."""
        return cls(get_result_store().result_storage or get_default_result_storage(_sync=True))

    @property
    def folder(self) -> Path | None:
        """The folder of the storage; None if it is not on this machine."""
        local = isinstance(self.storage, LocalFileSystem) and self.storage.basepath
        return Path(local).expanduser() if local else None

    def read(self, key: str, decode: Callable[[bytes], Any] = Summary.from_bytes) -> Any | None:
        """What is kept, a summary unless it is decoded as something else; None if there is none, or
        it is damaged."""
        try:
            return decode(self.storage.read_path(key, _sync=True))
        except (ValueError, FileNotFoundError):  # which of them depends on the storage
            return None

    def write(self, key: str, content: bytes) -> None:
        """Keep a summary's bytes, or something else."""
        self.storage.write_path(key, content=content, _sync=True)

    def use(self, key: str) -> bool:
        """Whether there is a summary; one on this machine counts as used now. It is not opened."""
        if self.folder is None:
            return self.read(key) is not None
        try:
            os.utime(self.folder / key)
            return True
        except FileNotFoundError:
            return False

    def delete_unused(self, used: Callable[[float], bool]) -> None:
        """Delete the summaries whose last use (seconds since 1970) does not count."""
        for path, stat in self._files():
            if not used(stat.st_mtime):
                path.unlink(missing_ok=True)

    def shrink(self, most_bytes: int = MOST_BYTES, began: float = math.inf) -> int:
        """Delete the summaries beyond `most_bytes`, least recently used first, but none that was
        used since a run began (seconds since 1970). Returns the number of bytes deleted."""
        left = deleted = 0
        for path, stat in sorted(self._files(), key=lambda file: file[1].st_mtime, reverse=True):
            left += stat.st_size
            if left > most_bytes and stat.st_mtime < began - 1:
                path.unlink(missing_ok=True)
                deleted += stat.st_size
        return deleted

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in self.folder.glob("factor-*") if self.folder else ():
            with contextlib.suppress(FileNotFoundError):
                yield path, path.stat()


def key_of(kind: str, *content: object) -> str:
    """The key of an entry that depends on some plain values; `kind` is "" for a summary."""
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return "-".join(filter(None, ("factor", kind, digest)))
