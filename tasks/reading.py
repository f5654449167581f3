"""Where rows come from, and what their target decides."""

from contextlib import suppress

from prefect import task

from plumbline.config.schema import Config, SyntheticData, TableData
from plumbline.data.blocks import Source
from plumbline.data.inputs import check_inputs
from plumbline.data.synthetic import Synthetic
from plumbline.data.table import Table, open_table
from plumbline.errors import InputError
from tasks.screen import note, warn


@task
def generate(data: SyntheticData) -> Synthetic:
    """Rows that are drawn when they are asked for."""
    return Synthetic(data)


@task
def read(data: TableData) -> Table:
    """The files of a table and the columns to read; the rows stay on disk."""
    table = open_table(data)
    columns = table.columns
    if columns.index:
        named = ", ".join(name or "the one without a name" for name in columns.index)
        note(f"columns that are an index of the rows are left out: {named}")
    if columns.left_out:
        note(f"columns that hold no numbers are left out: {', '.join(columns.left_out)}")
    for each in columns.warnings:
        warn(each)
    return table


def resolved(config: Config) -> Config:
    """The configuration with what the type of the target decides. If that cannot be seen it is as
    it was, and reading the rows will say why."""
    with suppress(InputError, OSError):
        return check_inputs(config)
    return config


def source_of(data: SyntheticData | TableData) -> Source:
    """Generate or read, as the configuration says."""
    return generate(data) if isinstance(data, SyntheticData) else read(data)
