"""Prefect tasks that say where rows come from."""

from prefect import task

from regression.columns import choose_columns
from regression.config import SyntheticData, TableData
from regression.rows import Source, Synthetic
from regression.table import Table
from regression.window import choose_files
from tasks.screen import note


@task
def generate(data: SyntheticData) -> Synthetic:
    """Rows that are drawn when they are asked for."""
    return Synthetic(data)


@task
def read(data: TableData) -> Table:
    """The files of a table and the columns to read; the rows stay on disk."""
    chosen = choose_files(data)
    columns = choose_columns(data, chosen.files[0])
    if columns.left_out:
        note(f"columns that hold no numbers are left out: {', '.join(columns.left_out)}")
    return Table(chosen.files, columns, data.missing, chosen.left_out)


def source_of(data: SyntheticData | TableData) -> Source:
    """Generate or read, as the configuration says."""
    return generate(data) if isinstance(data, SyntheticData) else read(data)
