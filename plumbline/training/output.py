"""The file that predictions are written to: checked before anything is read, whole or not there."""

import fcntl
import glob
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from plumbline.data.files import DataFile, is_hidden, local_path
from plumbline.errors import InputError, refuse

Write = Callable[[pa.RecordBatch], None]


def check_output(output: str, source: str, files: Sequence[DataFile]) -> None:
    """Refuse an OUTPUT that cannot be written, or that would damage INPUT.

    Args:
        output: as the user named it.
        source: INPUT as the user named it: a file, a folder, a glob or a URI.
        files: what was found there.

    Raises:
        InputError: it ends neither in .csv nor in .parquet, its folder does not exist, it is no
            file, it is one of the files to read, or it is where the next call would read it.
    """
    path = Path(os.path.realpath(output))
    if Path(output).suffix.lower() not in (".csv", ".parquet"):
        raise refuse("OUTPUT", "a file that ends in .csv or .parquet", output)
    if not path.parent.is_dir():
        raise refuse("OUTPUT", "in a folder that exists", output)
    if os.path.exists(path) and not path.is_file():
        raise refuse("OUTPUT", "a file", output)
    inputs = filter(None, (local_path(file.uri) for file in files))
    if os.path.exists(path) and any(path.samefile(each) for each in inputs):
        raise refuse("OUTPUT", "another file than those of INPUT, which it would replace", output)
    named = Path(os.path.realpath(Path(output).parent), Path(output).name)
    if any(_is_listed(each, source) for each in (path, named)):
        raise refuse("OUTPUT", f"outside INPUT ({source}): the next call would read it", output)


def _is_listed(path: Path, source: str) -> bool:
    """Whether find_files(source) would find a path, if its folder exists and it were written."""
    local = local_path(source)
    if local is None:
        return False
    pattern = glob.escape(str(local)) if local.exists() else str(local)
    parent, name = os.path.split(pattern)
    parents = [os.path.realpath(each) for each in glob.glob(parent or ".", recursive=True)]
    if fnmatchcase(path.name, name) and str(path.parent) in parents:
        return True
    return any(_is_inside(path, Path(each)) for each in glob.glob(pattern, recursive=True))


def _is_inside(path: Path, folder: Path) -> bool:
    folder = folder.resolve()
    inside = folder.is_dir() and path.is_relative_to(folder)
    return inside and not is_hidden(str(path.relative_to(folder)))


@contextmanager
def whole_or_nothing(output: str) -> Iterator[Write]:
    """A writer to a file beside the output, which takes its place at the end.

    A link stays a link: the file that it names is replaced. A file that is there keeps its mode.
    At least one batch must be written. What killed processes left beside the output is deleted.

    Raises:
        InputError: the file cannot be opened.
        OSError: it cannot be written, because the disk is full for example.
    """
    path = Path(os.path.realpath(output))
    part = path.with_name(f".predicted-{os.getpid()}.part")
    writer: Any = None  # pyarrow has no type hints

    def write(batch: pa.RecordBatch) -> None:
        nonlocal writer
        with _naming(output, OSError):
            writer = writer or _writer(output, part, batch.schema)
            writer.write_batch(batch)

    for left in path.parent.glob(".predicted-*.part"):
        with suppress(OSError), left.open() as other:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails unless its writer was killed
            left.unlink()
    with _naming(output, InputError):
        lock = part.open("w")
    with suppress(OSError):  # a file system without locks
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        with _naming(output, InputError):
            if path.exists():
                shutil.copymode(path, part)
        yield write
        with _naming(output, OSError):
            writer.close()
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
        lock.close()


class _ColumnWriter:
    """CSV of one column. Many readers skip an empty line, so a null is written as ""."""

    def __init__(self, path: str, schema: pa.Schema) -> None:
        self._stream = pa.OSFile(path, "wb")
        self._stream.write(f'"{schema.names[0]}"\n'.encode())

    def write_batch(self, batch: pa.RecordBatch) -> None:
        text = pc.fill_null(pc.cast(batch.column(0), pa.string()), '""')
        self._stream.write("".join(f"{each}\n" for each in text.to_pylist()).encode())

    def close(self) -> None:
        self._stream.close()


def _writer(output: str, part: Path, schema: pa.Schema) -> Any:
    if output.lower().endswith(".parquet"):
        return pq.ParquetWriter(str(part), schema)
    return (pacsv.CSVWriter if len(schema) > 1 else _ColumnWriter)(str(part), schema)


@contextmanager
def _naming(output: str, kind: type[Exception]) -> Iterator[None]:
    """Name the output as the user did."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise kind(f"OUTPUT: {output} cannot be written ({reason}).") from None
