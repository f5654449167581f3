"""What is wrong with a configuration and can be seen without reading the rows."""

import os

from plumbline.config.schema import Config, SyntheticData, TableData
from plumbline.data.columns import choose_columns
from plumbline.data.inputs import named_values
from plumbline.data.window import choose_files
from plumbline.errors import InputError


def check_inputs(config: Config) -> None:
    """Look at the first file's head, and at the inputs to predict.

    Raises:
        InputError: no such file, a named column is missing or no number, or an input does not fit
            the columns, or one block of generated rows does not fit in this machine's memory.
    """
    if not isinstance(config.data, TableData):
        _check_memory(config.data)
        return
    columns = choose_columns(config.data, choose_files(config.data).files[0])
    names = (*columns.numeric, *columns.categorical)
    for number, row in enumerate(config.prediction.inputs):
        named_values(row, names, f"prediction.inputs[{number}]")


def _check_memory(data: SyntheticData) -> None:
    """Refuse generated rows of which R, or a block (32 rows a column), does not fit in memory."""
    height = data.width + 2
    rows = min(max(height, data.rows or 0), 32 * height)
    needed, there = 8 * rows * height, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > there:
        allowed = f"so few that their rows fit in memory ({there / 1e9:.3g} GB)"
        found = f"{data.width}, which need {needed / 1e9:.3g} GB"
        raise InputError(f"data.features must be {allowed}. Got {found}.")
