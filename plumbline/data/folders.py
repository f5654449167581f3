"""The columns that only the folders of a partitioned table name, judged by all of its folders."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, repeat

import pyarrow as pa

from plumbline.data.files import DataFile
from plumbline.data.header import AUTO, Dialect, Header, Kind, csv_kinds, read_header


def first_header(files: Sequence[DataFile], dialect: Dialect) -> tuple[Header, dict[str, pa.Array]]:
    """The first header that tells what some column holds: that of a CSV file without rows does not.

    If there is none, it is that of the first file. A column that only folders name has the kind of
    its values in all of them: text if they differ, because one folder has only one value.

    Returns:
        The header, and the columns that only folders name, with a value per file.
    """
    headers = map(read_header, files, repeat(dialect))
    first = next(headers)
    first = next((h for h in chain([first], headers) if _tells(h)), first)
    named = first.file.partition.keys() - first.stored.keys()
    partitions = [file.partition for file in files] if named else []  # there may be 100,000 files
    folders = {
        name: pa.array([each.get(name) or None for each in partitions], pa.string())
        for name in named
    }
    kinds = {name: _kind(values) for name, values in folders.items()}
    return replace(first, kinds=first.kinds | kinds), folders


def _tells(header: Header) -> bool:
    return any(kind != "unknown" for name, kind in header.kinds.items() if name in header.stored)


def _kind(values: pa.Array) -> Kind:
    """The kind of a column with these values; "NA" is a name, as pandas writes it."""
    texts = values.unique().drop_null().to_pylist()
    kinds = {csv_kinds([[text]], 1, AUTO)[0] for text in texts}
    if len(kinds) > 1 or kinds == {"unknown"}:
        return "text"
    return kinds.pop() if kinds else "unknown"
