"""The columns that only the folders of a partitioned table name, judged by all of its folders."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, repeat

import pyarrow as pa

from plumbline.data.files import DataFile
from plumbline.data.header import AUTO, Dialect, Header, Kind, csv_kinds, read_header


def first_header(files: Sequence[DataFile], dialect: Dialect) -> Header:
    """The first header that tells what some column holds: that of a CSV file without rows does not.

    If there is none, it is that of the first file. A column that only folders name has the kind of
    its values in all of them: text if they differ, because one folder has only one value.
    """
    headers = map(read_header, files, repeat(dialect))
    first = next(headers)
    first = next((h for h in chain([first], headers) if _tells(h)), first)
    named = folder_columns(files, first)
    return replace(first, kinds=first.kinds | {name: _kind(named[name]) for name in named})


def folder_columns(files: Sequence[DataFile], header: Header) -> dict[str, pa.Array]:
    """The columns that the folders of a file name and the file lacks, with a value per file."""
    partitions = [file.partition for file in files]
    names = header.file.partition.keys() - header.stored.keys()
    return {
        name: pa.array([each.get(name) or None for each in partitions], pa.string())
        for name in names
    }


def _tells(header: Header) -> bool:
    return any(kind != "unknown" for name, kind in header.kinds.items() if name in header.stored)


def _kind(values: pa.Array) -> Kind:
    """The kind of a column with these values; "NA" is a name, as pandas writes it."""
    texts = values.unique().drop_null().to_pylist()
    kinds = {csv_kinds([[text]], 1, AUTO)[0] for text in texts}
    if len(kinds) > 1 or kinds == {"unknown"}:
        return "text"
    return kinds.pop() if kinds else "unknown"
