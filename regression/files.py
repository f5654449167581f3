"""Finding the files of a table, and knowing when one has changed."""

import glob
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from pyarrow import fs

from regression.errors import InputError

FORMATS = (".csv", ".parquet")


@dataclass(frozen=True)
class DataFile:
    """One file as it was when it was listed.

    Attributes:
        uri: a local path, or a URI such as s3://bucket/key.
        size: in bytes.
        modified: time of the last change in nanoseconds since 1970, 0 where unknown.
        etag: what an object store calls this content; empty elsewhere.
    """

    uri: str
    size: int
    modified: int
    etag: str = ""

    @property
    def name(self) -> str:
        """The name without its folder."""
        return PurePosixPath(self.uri).name

    @property
    def is_csv(self) -> bool:
        return self.name.lower().endswith(".csv")

    def open(self) -> BinaryIO:
        """The file's bytes, seekable."""
        filesystem, path = _filesystem(self.uri)
        return filesystem.open_input_file(path)

    def digest(self) -> str:
        """SHA-256 of every byte, in hexadecimal."""
        digest, chunk = hashlib.sha256(), memoryview(bytearray(1 << 18))
        with self.open() as stream:
            while got := stream.readinto(chunk):
                digest.update(chunk[:got])
        return digest.hexdigest()

    def check_unchanged(self) -> None:
        """Raise OSError (which is retried) where the file is no longer what was listed."""
        now = next(iter(_listed(self.uri)), None)
        if now != self:
            raise OSError(
                f"{self.uri} changed while it was read. Write new files elsewhere and "
                "move them into place when they are whole."
            )


def find_files(path: str, key: str = "data.path") -> tuple[DataFile, ...]:
    """The CSV or Parquet files that a file, folder, glob or URI names, sorted by path.

    Folders are searched to any depth; names that begin with "." or "_" are left out.

    Raises:
        InputError: there is none, or both formats are there.
    """
    try:
        found = sorted({file.uri: file for file in _listed(path)}.items())
    except (OSError, ValueError) as error:
        raise InputError(f"{key}: {path} cannot be listed ({error}).") from None
    files = [file for _, file in found]
    if not files:
        raise InputError(
            f"{key}: no CSV or Parquet file at '{path}'. It must name a file, a folder or a "
            "glob of files that end in .csv or .parquet."
        )
    if len({file.is_csv for file in files}) > 1:
        raise InputError(
            f"{key}: '{path}' holds both CSV and Parquet files. Name one format, "
            f"for example {path.rstrip('/')}/*.parquet."
        )
    return tuple(files)


def _listed(path: str) -> Iterator[DataFile]:
    if "://" in path:
        filesystem, base = _filesystem(path)
        prefix = path[: len(path) - len(base)] if path.endswith(base) else ""
    else:
        filesystem, base, prefix = fs.LocalFileSystem(), path, ""
    for pattern in _bases(filesystem, base):
        info = filesystem.get_file_info(pattern)
        if info.type == fs.FileType.Directory:
            inside = filesystem.get_file_info(fs.FileSelector(pattern, recursive=True))
            yield from (_data_file(i, prefix, filesystem) for i in inside if _wanted(i, pattern))
        elif info.type == fs.FileType.File and _readable(info.path):
            yield _data_file(info, prefix, filesystem)


def _bases(filesystem: fs.FileSystem, base: str) -> list[str]:
    """A path as it stands, or what a local glob or a remote one (in its last part) matches."""
    if not glob.has_magic(base) or filesystem.get_file_info(base).type != fs.FileType.NotFound:
        return [base]
    if isinstance(filesystem, fs.LocalFileSystem):
        return glob.glob(base, recursive=True)
    folder, pattern = base.rsplit("/", 1)
    inside = filesystem.get_file_info(fs.FileSelector(folder))
    return [i.path for i in inside if PurePosixPath(i.path).match(pattern)]


def _filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    if "://" in uri:
        return fs.FileSystem.from_uri(uri)
    return fs.LocalFileSystem(), str(Path(uri))


def _readable(path: str) -> bool:
    return path.lower().endswith(FORMATS)


def _wanted(info: fs.FileInfo, folder: str) -> bool:
    inside = PurePosixPath(info.path[len(folder) :].lstrip("/")).parts
    hidden = any(part.startswith((".", "_")) for part in inside)
    return info.type == fs.FileType.File and _readable(info.path) and not hidden


def _data_file(info: fs.FileInfo, prefix: str, filesystem: fs.FileSystem) -> DataFile:
    etag = "" if isinstance(filesystem, fs.LocalFileSystem) else _etag(filesystem, info.path)
    return DataFile(prefix + info.path, info.size or 0, info.mtime_ns or 0, etag)


def _etag(filesystem: fs.FileSystem, path: str) -> str:
    """An object's ETag, which its stream's metadata holds where the store has one."""
    with filesystem.open_input_stream(path, compression=None) as stream:
        return (stream.metadata() or {}).get(b"ETag", b"").decode()
