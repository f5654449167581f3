"""The file that predictions are written to: checked before anything is read, whole or not there."""

import glob
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from plumbline.data.files import DataFile, local_path
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
    if os.path.exists(path) and any(_is_same(path, file) for file in files):
        raise refuse("OUTPUT", "another file than those of INPUT, which it would replace", output)
    named = Path(os.path.realpath(Path(output).parent), Path(output).name)
    if any(_is_listed(each, source) for each in (path, named)):
        raise refuse("OUTPUT", f"outside INPUT ({source}): the next call would read it", output)


def _is_same(path: Path, file: DataFile) -> bool:
    local = local_path(file.uri)
    return local is not None and local.exists() and path.samefile(local)


def _is_listed(path: Path, source: str) -> bool:
    """Whether find_files(source) would find a path, were it there."""
    local = local_path(source)
    if local is None:
        return False
    if local.exists() or not glob.has_magic(source):
        return local.is_dir() and _is_inside(path, Path(os.path.realpath(local)))
    folders = [each for each in glob.glob(str(local), recursive=True) if os.path.isdir(each)]
    fixed = next(i for i, part in enumerate(local.parts) if glob.has_magic(part))
    pattern = (*Path(os.path.realpath(Path(*local.parts[:fixed]))).parts, *local.parts[fixed:])
    return _matches(path.parts, pattern) or any(
        _is_inside(path, Path(os.path.realpath(each))) for each in folders
    )


def _is_inside(path: Path, folder: Path) -> bool:
    """Names that begin with "." or "_" are left out of a folder's files."""
    if not path.is_relative_to(folder):
        return False
    return not any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path's parts match a glob's; "**" stands for any number of folders."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[i:], pattern[1:]) for i in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


@contextmanager
def whole_or_nothing(output: str) -> Iterator[Write]:
    """A writer to a file beside the output, which takes its place at the end.

    A link stays a link: the file that it names is replaced. A file that is there keeps its mode.

    Raises:
        InputError: the file cannot be opened, or no batch was written.
        OSError: it cannot be written, because the disk is full for example.
    """
    path = Path(os.path.realpath(output))
    part = path.with_name(f".predicted-{os.getpid()}.part")
    writer = None
    try:
        with _open(part, path, output) as stream:

            def write(batch: pa.RecordBatch) -> None:
                nonlocal writer
                with _naming(output):
                    writer = writer or _writer(output, stream, batch.schema)
                    writer.write_batch(batch)

            yield write
            if writer is None:
                raise InputError("INPUT must have at least one row. Got none.")
            with _naming(output):
                writer.close()
                stream.close()
                os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


class _ColumnWriter:
    """CSV of one column. An empty line is no row to many readers, so a null is written as ""."""

    def __init__(self, stream: pa.OSFile, schema: pa.Schema) -> None:
        self._stream = stream
        stream.write(f'"{schema.names[0]}"\n'.encode())

    def write_batch(self, batch: pa.RecordBatch) -> None:
        text = pc.fill_null(pc.cast(batch.column(0), pa.string()), '""')
        self._stream.write("".join(f"{each}\n" for each in text.to_pylist()).encode())

    def close(self) -> None:
        """Nothing is waiting."""


Writer = pq.ParquetWriter | pacsv.CSVWriter | _ColumnWriter


def _writer(output: str, stream: pa.OSFile, schema: pa.Schema) -> Writer:
    if output.lower().endswith(".parquet"):
        return pq.ParquetWriter(stream, schema)
    return (pacsv.CSVWriter if len(schema) > 1 else _ColumnWriter)(stream, schema)


def _open(part: Path, path: Path, output: str) -> pa.OSFile:
    try:
        part.touch()
        if path.exists():
            shutil.copymode(path, part)
        return pa.OSFile(str(part), "wb")
    except OSError as error:
        raise InputError(f"OUTPUT: {output} cannot be written ({error.strerror}).") from None


@contextmanager
def _naming(output: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise OSError(f"{output} cannot be written ({reason}).") from None
