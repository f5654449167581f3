"""Find the files of a table, choose those to train on, and detect changes to them."""

import glob
import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import pyarrow as pa
from blake3 import blake3
from pyarrow import fs

from plumbline.config.rows import Window
from plumbline.config.schema import TableData
from plumbline.errors import InputError

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
BINARY = {".parquet": "Parquet", ".feather": "Arrow", ".arrow": "Arrow"}
ENDINGS = (*BINARY, *(end + more for end in (".csv", ".tsv") for more in ("", *COMPRESSIONS)))
REMOTE = re.compile(r"(\w+://[^/?]*)/?(.*?)(\?\w+=.*)?")  # root, path, query
FOLDER, NO_VALUE = re.compile(r"([^=]+)=(.+)"), "__HIVE_DEFAULT_PARTITION__"
NUMBER = re.compile("[0-9]+")
ASKED_AT_ONCE = 16  # requests for ETags in parallel


@dataclass(frozen=True)
class DataFile:
    """One file as it was when it was listed.

    Attributes:
        uri: a local path, or a URI such as s3://bucket/key.
        name: its path below the folder that data.path names, or below the folders that a glob
            names before its first wildcard; without a folder if data.path names the file.
        size: in bytes.
        modified: time of the last change in nanoseconds since 1970; 0 if it is unknown or there is
            an ETag.
        etag: the object store's ETag of this content; empty for local files.
        query: the store's options in the URI, such as ?endpoint_override=HOST:PORT&scheme=http.
        rows: read only this many rows, the first; None: all of them.
        tested: whether the whole file is held out for testing; None: rows are drawn.
    """

    uri: str
    name: str
    size: int
    modified: int
    etag: str = ""
    query: str = ""
    rows: int | None = None
    tested: bool | None = None

    @property
    def partition(self) -> dict[str, str]:
        """The columns that folders below data.path name, each with its value in the whole file.

        Such are the folders of a table that Hive, Spark or pandas has partitioned: year=2024.
        A missing value is "".
        """
        found = (FOLDER.fullmatch(folder) for folder in PurePosixPath(self.name).parts[:-1])
        named = [map(unquote, folder.groups()) for folder in found if folder]
        return {column: "" if value == NO_VALUE else value for column, value in named}

    @property
    def format(self) -> str:
        """The format by the extension: Parquet, Arrow, or CSV for any other extension."""
        return BINARY.get(PurePosixPath(self.name.lower()).suffix, "CSV")

    @property
    def is_csv(self) -> bool:
        return self.format == "CSV"

    @property
    def usual_delimiter(self) -> str:
        """The usual delimiter for the extension: a tab for .tsv, otherwise a comma."""
        return "\t" if ".tsv" in PurePosixPath(self.name.lower()).suffixes[-2:] else ","

    @property
    def compression(self) -> str | None:
        """pyarrow's name for the compression of a CSV file; None if it is not compressed."""
        return COMPRESSIONS.get(PurePosixPath(self.name.lower()).suffix)

    def open(self) -> pa.NativeFile:
        """Open the file's bytes as a seekable stream."""
        place = _place(self.uri + self.query)
        return place.filesystem.open_input_file(place.path)

    def open_content(self) -> pa.NativeFile:
        """Open the decompressed bytes of a CSV file."""
        stream = self.open()
        return pa.CompressedInputStream(stream, self.compression) if self.compression else stream

    def is_out_of_reach(self, error: Exception) -> bool:
        """Whether a read failed because the store could not be reached, not because of content,
        which pyarrow also reports without an errno."""
        return "://" in self.uri and "AWS Error" in str(error)

    def digest(self) -> str:
        """The BLAKE3 hash of all bytes, and of the partition if there is one, in hexadecimal."""
        with self.open() as stream:
            hashed = hashlib.file_digest(stream, blake3)  # type: ignore[arg-type]
        if self.partition:
            hashed.update(repr(self.partition).encode())
        return hashed.hexdigest()

    def check_unchanged(self) -> None:
        """Raise OSError (which is retried) if the file changed since it was listed."""
        now = [replace(file, name=self.name) for file in _listed(self.uri + self.query)]
        if now != [replace(self, rows=None, tested=None)]:
            raise OSError(
                f"{self.uri} changed while it was read. Write new files elsewhere and "
                "move them into place when they are complete."
            )


def find_files(path: str, key: str = "data.path") -> tuple[DataFile, ...]:
    """Find the CSV, Parquet or Arrow files of a file, folder, glob or URI, sorted by path.

    Folders are searched recursively; names that begin with "." or "_" are left out.

    Raises:
        InputError: there are none, they have several formats, or they cannot be listed.
    """
    try:
        files = _listed(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{key}: {path} cannot be listed ({error}).") from None
    if not files:
        raise InputError(
            f"{key}: no CSV, Parquet or Arrow file at '{path}'. It must name a file, a folder or a "
            "glob of files that end in .csv, .tsv (these also .gz or .zst), .parquet, .feather or "
            ".arrow."
        )
    if len(formats := sorted({file.format for file in files})) > 1:
        raise InputError(
            f"{key}: '{path}' holds {' and '.join(formats)} files. Name one format, "
            f"for example {path.rstrip('/')}/*.parquet."
        )
    return tuple(files)


def fingerprint(path: str) -> str:
    """A digest of the names, sizes and modification times of a path's files; empty without any.

    ETags of an object store are not requested.

    Raises:
        OSError: the files cannot be listed at the moment.
        InputError: the path is not valid.
    """
    try:
        files = _listed(path, etags=False)
    except ValueError as error:
        raise InputError(f"data.path: {path} cannot be listed ({error}).") from None
    listed = [(file.uri, file.size, file.modified) for file in files]
    return hashlib.sha256(repr(listed).encode()).hexdigest()[:16] if listed else ""


def _listed(path: str, etags: bool = True) -> list[DataFile]:
    """The current files of a path, each once, sorted."""
    place = _place(path)
    local = isinstance(place.filesystem, fs.LocalFileSystem)

    def as_it_is(info: fs.FileInfo) -> DataFile:
        etag = "" if local or not etags else _etag(place.filesystem, info.path)
        modified = 0 if etag else info.mtime_ns or 0
        uri = place.root + info.path.removeprefix(place.base)
        name = str(PurePosixPath(info.path).relative_to(folder))
        return DataFile(uri, name, info.size or 0, modified, etag, place.query)

    bases = _bases(place)
    found = {info.path: info for each in bases for info in _inside(place.filesystem, each)}
    # as text, but numbers by value: month=9 before month=10
    ordered = sorted(found, key=lambda path: (NUMBER.sub(lambda n: n[0].zfill(20), path), path))
    infos = [found[path] for path in ordered]
    folder, files = PurePosixPath(place.path), {PurePosixPath(path) for path in found}
    while folder in files or (bases != [place.path] and glob.has_magic(str(folder))):
        folder = folder.parent
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        return list((map if local else pool.map)(as_it_is, infos))


def _bases(place: "_Place") -> list[str]:
    """The path itself, or the matches of a glob; a remote glob must be in the last part."""
    filesystem, base = place.filesystem, place.path
    if not glob.has_magic(base) or filesystem.get_file_info(base).type != fs.FileType.NotFound:
        return [base]
    if isinstance(filesystem, fs.LocalFileSystem):
        return glob.glob(base, recursive=True)
    folder, pattern = base.rsplit("/", 1)
    inside = filesystem.get_file_info(fs.FileSelector(folder))
    return [info.path for info in inside if PurePosixPath(info.path).match(pattern)]


def _inside(filesystem: fs.FileSystem, base: str) -> list[fs.FileInfo]:
    """The data files in a folder, recursively, or the file itself."""
    found = [filesystem.get_file_info(base)]
    if found[0].type == fs.FileType.Directory:
        every = filesystem.get_file_info(fs.FileSelector(base, recursive=True))
        found = [info for info in every if not is_hidden(info.path.removeprefix(base))]
    wanted = (info for info in found if info.path.lower().endswith(ENDINGS))
    return [info for info in wanted if info.type == fs.FileType.File]


def is_hidden(path: str) -> bool:
    """Whether any part of a path starts with "." or "_", so that the file is left out."""
    return any(part.startswith((".", "_")) for part in PurePosixPath(path).parts)


def _etag(filesystem: fs.FileSystem, path: str) -> str:
    """The ETag of an object, from its metadata; a listing does not have it."""
    with filesystem.open_input_stream(path, compression=None) as stream:
        return (stream.metadata() or {}).get("ETag", b"").decode()


@dataclass(frozen=True)
class _Place:
    """A path in a file system, and the parts of the URIs of files below it.

    Attributes:
        filesystem: local or an object store.
        path: in the form of the file system, possibly a glob.
        root: the start of the URIs, in place of `base` in paths.
        query: the end of the URIs, from "?" on.
    """

    filesystem: fs.FileSystem
    path: str
    root: str = ""
    base: str = ""
    query: str = ""


def local_path(uri: str) -> Path | None:
    """The local path of a name or a URI as find_files reads it; None if it is remote."""
    place = _place(uri)
    return Path(place.path) if isinstance(place.filesystem, fs.LocalFileSystem) else None


def _place(path: str) -> _Place:
    if "://" not in path:
        return _Place(fs.LocalFileSystem(), path)
    parts = REMOTE.fullmatch(path)
    if not parts:
        raise ValueError("it is not a URI such as s3://bucket/key")
    root, rest, query = parts.groups("")
    filesystem, base = _store(f"{root}/{query}")
    base = base.rstrip("/")
    return _Place(filesystem, f"{base}/{rest}".rstrip("/") or "/", root, base, query)


# one file system for all files of a store, because each opens its own connections
_store = lru_cache(64)(fs.FileSystem.from_uri)


@dataclass(frozen=True)
class Chosen:
    """The files of a table split by its window, sorted by path.

    Attributes:
        files: the files to train on, at least one.
        left_out: the files outside the window.
    """

    files: tuple[DataFile, ...]
    left_out: tuple[DataFile, ...] = ()


def choose_files(data: TableData) -> Chosen:
    """Find a table's files and apply its window at the current time.

    Raises:
        InputError: there is no file, none is in the window, or the age of a file is unknown.
    """
    return in_window(find_files(data.path), data.window, datetime.now(UTC))


def in_window(files: tuple[DataFile, ...], window: Window | None, now: datetime) -> Chosen:
    """Split files, sorted by path, by a window. Raises InputError if none is inside."""
    if window and window.files:
        return Chosen(files[-window.files :], files[: -window.files])
    if not window or not window.since:
        return Chosen(files)
    start = window.start(now).timestamp() * 1e9
    if undated := next((file for file in files if not file.modified), None):
        raise InputError(
            f"data.window.since: the time of the last change of {undated.uri} is unknown. "
            "Use data.window.files instead."
        )
    recent = tuple(file for file in files if file.modified >= start)
    if not recent:
        newest = datetime.fromtimestamp(max(file.modified for file in files) / 1e9, UTC)
        raise InputError(
            f"data.window.since must leave at least one file. Got {window.since!r}; the newest of "
            f"{len(files)} was changed at {newest:%Y-%m-%d %H:%M} UTC."
        )
    return Chosen(recent, tuple(file for file in files if file.modified < start))
