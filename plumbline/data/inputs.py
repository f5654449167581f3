"""What the configuration asks to read and to predict, checked without reading the rows."""

from collections.abc import Sequence
from typing import Any

from plumbline.config.schema import Config, SyntheticData, TableData
from plumbline.data.batches import MEMORY
from plumbline.data.columns import choose_columns
from plumbline.data.files import choose_files
from plumbline.errors import InputError, refuse

Row = float | Sequence[float | str] | dict[str, float | str]


def check_inputs(config: Config) -> Config:
    """Look at the first file's head, and at the inputs to predict.

    Returns:
        The configuration with what is auto resolved by the target's type.

    Raises:
        InputError: no such file, a named column is missing or no number, or an input does not fit
            the columns, or one block of generated rows does not fit in this machine's memory, or
            a key does not go with the target's type.
    """
    if not isinstance(config.data, TableData):
        _check_memory(config.data)
        return config
    columns = choose_columns(config.data, choose_files(config.data).files[0])
    for number, row in enumerate(config.prediction.inputs):
        named_values(row, columns.features, f"prediction.inputs[{number}]")
    return config.of_target(columns.has_classes)


def has_classes(data: SyntheticData | TableData) -> bool:
    """Whether the target has classes, by the first file's head.

    Raises:
        InputError: as check_inputs.
    """
    if not isinstance(data, TableData):
        return False
    return choose_columns(data, choose_files(data).files[0]).has_classes


def named_values(row: Row, columns: Sequence[str], where: str) -> dict[str, float | str]:
    """A row as a mapping of every column to its value, in the columns' order."""
    if isinstance(row, dict):
        unknown = [name for name in row if name not in columns]
        missing = [name for name in columns if name not in row]
        if unknown or missing:
            raise InputError(
                f"{where} must have the columns {', '.join(columns)}. Got {', '.join(row)} instead."
            )
        return {name: row[name] for name in columns}
    values: list[Any] = list(row) if isinstance(row, list | tuple) else [row]
    if len(values) != len(columns):
        raise refuse(where, f"{len(columns)} value(s): {', '.join(columns)}", row)
    return dict(zip(columns, values, strict=True))


def _check_memory(data: SyntheticData) -> None:
    """Refuse generated rows of which R, or a block (32 rows a column), does not fit in memory."""
    height = data.width + 2
    rows = min(max(height, data.rows or 0), 32 * height)
    needed = 8 * rows * height
    if needed > MEMORY:
        allowed = f"so few that their rows fit in memory ({MEMORY / 1e9:.3g} GB)"
        found = f"{data.width}, which need {needed / 1e9:.3g} GB"
        raise InputError(f"data.features must be {allowed}. Got {found}.")
