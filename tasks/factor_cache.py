"""The cache of data files: a summary of each file, and the counts of its levels if it has many.

Entries are stored in Prefect's result storage, as binary files and not as result records, which are
JSON. A file's modification time is the time of its last use. Only a storage on this machine is
limited in size; a remote one has its own retention rules.
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
    """Summaries and other entries by key.

    Attributes:
        storage: Prefect's result storage.
    """

    storage: WritableFileSystem

    @classmethod
    def current(cls) -> "FactorCache":
        """The cache in the result storage of the current flow or task, or the default one."""
        return cls(get_result_store().result_storage or get_default_result_storage(_sync=True))

    @property
    def folder(self) -> Path | None:
        """The folder of the storage; None if it is not on this machine."""
        local = isinstance(self.storage, LocalFileSystem) and self.storage.basepath
        return Path(local).expanduser() if local else None

    def read(self, key: str, decode: Callable[[bytes], Any] = Summary.from_bytes) -> Any | None:
        """Read an entry, by default a summary; None if it is missing or damaged."""
        try:
            return decode(self.storage.read_path(key, _sync=True))
        except (ValueError, FileNotFoundError):  # of a missing entry, depending on the storage
            return None

    def write(self, key: str, content: bytes) -> None:
        """Store the bytes of an entry."""
        self.storage.write_path(key, content=content, _sync=True)

    def use(self, key: str) -> bool:
        """Whether there is an entry; on this machine, mark it as used now without reading it."""
        if self.folder is None:
            return self.read(key) is not None
        try:
            os.utime(self.folder / key)
            return True
        except FileNotFoundError:
            return False

    def delete_unused(self, used: Callable[[float], bool]) -> None:
        """Delete the entries for whose last use, in seconds since 1970, `used` is false."""
        for path, stat in self._files():
            if not used(stat.st_mtime):
                path.unlink(missing_ok=True)

    def shrink(self, most_bytes: int = MOST_BYTES, began: float = math.inf) -> int:
        """Delete the least recently used entries until the rest has at most `most_bytes`, but none
        used since `began` (seconds since 1970). Return the number of bytes deleted."""
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
    """The key of an entry that depends on plain values; `kind` is "" for a summary."""
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return "-".join(filter(None, ("factor", kind, digest)))
