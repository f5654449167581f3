"""Finding the files of a table, choosing those to train on, and knowing when one has changed."""

import glob
import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from itertools import accumulate
from pathlib import Path, PurePosixPath

import pyarrow as pa
from blake3 import blake3
from pyarrow import fs

from plumbline.config.rows import Window
from plumbline.config.schema import TableData
from plumbline.errors import InputError

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
BINARY = {".parquet": "Parquet", ".feather": "Arrow", ".arrow": "Arrow"}
ENDINGS = tuple(f"{end}{more}" for end in (".csv", ".tsv") for more in ("", *COMPRESSIONS))
ENDINGS = (*ENDINGS, *BINARY)
REMOTE = re.compile(r"(\w+://[^/?]*)/?(.*?)(\?\w+=.*)?")  # root, path, query
ASKED_AT_ONCE = 16  # ETags, each a request


@dataclass(frozen=True)
class DataFile:
    """One file as it was when it was listed.

    Attributes:
        uri: a local path, or a URI such as s3://bucket/key.
        size: in bytes.
        modified: time of the last change in nanoseconds since 1970; 0 where unknown, and where an
            ETag says more.
        etag: what an object store calls this content; empty elsewhere.
        query: what a URI says of its store, such as ?endpoint_override=HOST:PORT&scheme=http.
        rows: how many of its rows are read, the first; None: all of them.
        tested: whether the whole file is held out for testing; None: that is not decided by file.
    """

    uri: str
    size: int
    modified: int
    etag: str = ""
    query: str = ""
    rows: int | None = None
    tested: bool | None = None

    @property
    def name(self) -> str:
        """The name without its folder."""
        return PurePosixPath(self.uri).name

    @property
    def format(self) -> str:
        """CSV, Parquet or Arrow, by its name; any other ending is taken for CSV."""
        return BINARY.get(PurePosixPath(self.name.lower()).suffix, "CSV")

    @property
    def is_csv(self) -> bool:
        return self.format == "CSV"

    @property
    def usual_delimiter(self) -> str:
        """The delimiter that the name of a CSV file promises."""
        return "\t" if ".tsv" in PurePosixPath(self.name.lower()).suffixes[-2:] else ","

    @property
    def compression(self) -> str | None:
        """How the whole of a CSV file is compressed, as pyarrow calls it."""
        return COMPRESSIONS.get(PurePosixPath(self.name.lower()).suffix)

    def open(self) -> pa.NativeFile:
        """The file's bytes, seekable."""
        place = _place(self.uri + self.query)
        return place.filesystem.open_input_file(place.path)

    def open_content(self) -> pa.NativeFile:
        """The bytes of a CSV file, decompressed."""
        stream = self.open()
        return pa.CompressedInputStream(stream, self.compression) if self.compression else stream

    def is_out_of_reach(self, error: OSError) -> bool:
        """Whether a read failed on the way to an object store, not because of the content.

        pyarrow reports both without a number.
        """
        return "://" in self.uri and "AWS Error" in str(error)

    def digest(self) -> str:
        """BLAKE3 of every byte, in hexadecimal."""
        with self.open() as stream:
            return hashlib.file_digest(stream, blake3).hexdigest()  # type: ignore[arg-type]

    def check_unchanged(self) -> None:
        """Raise OSError (which is retried) where the file is no longer what was listed."""
        if _listed(self.uri + self.query) != [replace(self, rows=None, tested=None)]:
            raise OSError(
                f"{self.uri} changed while it was read. Write new files elsewhere and "
                "move them into place when they are whole."
            )


def find_files(path: str, key: str = "data.path") -> tuple[DataFile, ...]:
    """The CSV, Parquet or Arrow files that a file, folder, glob or URI names, sorted by path.

    Folders are searched to any depth; names that begin with "." or "_" are left out.

    Raises:
        InputError: there is none, or they are of several formats.
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
    """What tells whether files of a path came, changed or went: a digest of their names, sizes and
    modification times; empty if there are none. No file of an object store is asked for its ETag.

    Raises:
        OSError: they cannot be listed just now. InputError: the path cannot be one of files.
    """
    try:
        files = _listed(path, etags=False)
    except ValueError as error:
        raise InputError(f"data.path: {path} cannot be listed ({error}).") from None
    listed = [(file.uri, file.size, file.modified) for file in files]
    return hashlib.sha256(repr(listed).encode()).hexdigest()[:16] if listed else ""


def _listed(path: str, etags: bool = True) -> list[DataFile]:
    """The files that a path names, each once and sorted, as they are now."""
    place = _place(path)
    local = isinstance(place.filesystem, fs.LocalFileSystem)

    def as_it_is(info: fs.FileInfo) -> DataFile:
        etag = "" if local or not etags else _etag(place.filesystem, info.path)
        modified = 0 if etag else info.mtime_ns or 0
        uri = place.root + info.path.removeprefix(place.base)
        return DataFile(uri, info.size or 0, modified, etag, place.query)

    found = {info.path: info for each in _bases(place) for info in _inside(place.filesystem, each)}
    infos = [found[path] for path in sorted(found)]
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        return list((map if local else pool.map)(as_it_is, infos))


def _bases(place: "_Place") -> list[str]:
    """A path as it stands, or what a local glob or a remote one (in its last part) matches."""
    filesystem, base = place.filesystem, place.path
    if not glob.has_magic(base) or filesystem.get_file_info(base).type != fs.FileType.NotFound:
        return [base]
    if isinstance(filesystem, fs.LocalFileSystem):
        return glob.glob(base, recursive=True)
    folder, pattern = base.rsplit("/", 1)
    inside = filesystem.get_file_info(fs.FileSelector(folder))
    return [info.path for info in inside if PurePosixPath(info.path).match(pattern)]


def _inside(filesystem: fs.FileSystem, base: str) -> list[fs.FileInfo]:
    """The files of a folder that are a table's, to any depth, or a file itself."""
    found = [filesystem.get_file_info(base)]
    if found[0].type == fs.FileType.Directory:
        every = filesystem.get_file_info(fs.FileSelector(base, recursive=True))
        found = [info for info in every if not is_hidden(info.path.removeprefix(base))]
    wanted = (info for info in found if info.path.lower().endswith(ENDINGS))
    return [info for info in wanted if info.type == fs.FileType.File]


def is_hidden(path: str) -> bool:
    """Whether some part of a path below a folder is left out there."""
    return any(part.startswith((".", "_")) for part in PurePosixPath(path).parts)


def _etag(filesystem: fs.FileSystem, path: str) -> str:
    """What a store calls an object's content; a listing does not say it, its metadata does."""
    with filesystem.open_input_stream(path, compression=None) as stream:
        return (stream.metadata() or {}).get("ETag", b"").decode()


@dataclass(frozen=True)
class _Place:
    """A path in a file system, and how the URIs of what is there are written.

    Attributes:
        filesystem: local, or a store's.
        path: as the file system takes it, possibly with a glob's characters.
        root: of a URI, what stands for `base` of a path.
        query: of a URI, from "?" on.
    """

    filesystem: fs.FileSystem
    path: str
    root: str = ""
    base: str = ""
    query: str = ""


def local_path(uri: str) -> Path | None:
    """The path that find_files reads for a name or a URI; None if it is not on this machine."""
    place = _place(uri)
    return Path(place.path) if isinstance(place.filesystem, fs.LocalFileSystem) else None


def _place(path: str) -> _Place:
    if "://" not in path:
        return _Place(fs.LocalFileSystem(), path)
    parts = REMOTE.fullmatch(path)
    if not parts:
        raise ValueError("it is no URI such as s3://bucket/key")
    root, rest, query = parts.groups("")
    filesystem, base = _store(f"{root}/{query}")
    base = base.rstrip("/")
    return _Place(filesystem, f"{base}/{rest}".rstrip("/") or "/", root, base, query)


# one file system for all files of a store, because each has connections of its own
_store = lru_cache(64)(fs.FileSystem.from_uri)


@dataclass(frozen=True)
class Chosen:
    """Files, sorted by path.

    Attributes:
        files: those to train on, at least one.
        left_out: those outside the window.
    """

    files: tuple[DataFile, ...]
    left_out: tuple[DataFile, ...] = ()


def choose_files(data: TableData) -> Chosen:
    """Find a table's files and apply its window, as it is now.

    Raises:
        InputError: there is no file, none is in the window, or a file's age is not known.
    """
    return in_window(find_files(data.path), data.window, datetime.now(UTC))


def in_window(files: tuple[DataFile, ...], window: Window | None, now: datetime) -> Chosen:
    """Split files, sorted by path, into those inside and outside a window."""
    if window and window.files:
        return Chosen(files[-window.files :], files[: -window.files])
    if not window or not window.since:
        return Chosen(files)
    start = window.start(now).timestamp() * 1e9
    if undated := next((file for file in files if not file.modified), None):
        raise InputError(
            f"data.window.since: when {undated.uri} was changed is not known. "
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


def hold_out_newest(files: tuple[DataFile, ...], fraction: float) -> tuple[DataFile, ...]:
    """Files, sorted by path, of which the last are held out for testing: as many as come nearest to
    a share of all bytes, so that nothing needs to be read for it; at least one, and not all.

    With more files at the end, or fewer at the beginning, a file that was trained on stays so.

    Raises:
        InputError: there is one file only.
    """
    if len(files) == 1:
        raise InputError(
            "data.split: by time holds out the last files, so there must be at least two. Got only "
            f"{files[0].uri}: give data.split.column and cut."
        )
    before = list(accumulate(file.size for file in files))
    away = [abs((1 - fraction) * before[-1] - size) for size in before[:-1]]
    first = 1 + away.index(min(away))
    return tuple(replace(file, tested=i >= first) for i, file in enumerate(files))
