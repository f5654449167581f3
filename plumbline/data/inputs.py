"""Check the data and the inputs to predict without reading the rows."""

from collections.abc import Sequence
from typing import Any

from plumbline.config.schema import Config, SyntheticData, TableData
from plumbline.data.batches import MEMORY
from plumbline.data.columns import choose_columns
from plumbline.data.files import choose_files
from plumbline.errors import InputError, listed, refuse

Row = float | Sequence[float | str] | dict[str, float | str]


def check_inputs(config: Config) -> Config:
    """Check the head of the first file and the inputs to predict.

    Returns:
        The configuration with auto resolved for the target's type.

    Raises:
        InputError: there is no such file, a named column is missing or not a number, an input does
            not fit the columns, a block of generated rows does not fit in this machine's memory,
            or a key does not suit the target's type.
    """
    if not isinstance(config.data, TableData):
        _check_memory(config.data)
        return config
    columns = choose_columns(config.data, choose_files(config.data).files)
    for number, row in enumerate(config.prediction.inputs):
        named_values(row, columns.features, f"prediction.inputs[{number}]")
    return config.of_target(columns.has_classes)


def has_classes(data: SyntheticData | TableData) -> bool:
    """Whether the target has classes, from the head of the first file with values.

    Raises:
        InputError: there is no such file, or a named column is missing or of the wrong kind.
    """
    if not isinstance(data, TableData):
        return False
    return choose_columns(data, choose_files(data).files).has_classes


def named_values(row: Row, columns: Sequence[str], where: str) -> dict[str, float | str]:
    """Convert a row to a mapping of column to value, in the order of columns; of a mapping, other
    columns are ignored.

    Raises:
        InputError: a column is missing, or the number of values is wrong.
    """
    if isinstance(row, dict):
        if absent := [name for name in columns if name not in row]:
            raise InputError(
                f"{where} must have the columns {listed(columns)}. Got {listed(row)} instead, "
                f"without {listed(absent)}."
            )
        return {name: row[name] for name in columns}
    values: list[Any] = list(row) if isinstance(row, list | tuple) else [row]
    if len(values) != len(columns):
        raise refuse(where, f"{len(columns)} value(s): {listed(columns)}", row)
    return dict(zip(columns, values, strict=True))


def _check_memory(data: SyntheticData) -> None:
    """Raise InputError if R or a block (32 rows per column) of generated rows exceeds memory."""
    height = data.width + 2
    rows = min(max(height, data.rows or 0), 32 * height)
    needed = 8 * rows * height
    if needed > MEMORY:
        allowed = f"so few that their rows fit in memory ({MEMORY / 1e9:.3g} GB)"
        found = f"{data.width}, which need {needed / 1e9:.3g} GB"
        raise InputError(f"data.features must be {allowed}. Got {found}.")
