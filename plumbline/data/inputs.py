"""Rows to predict as the configuration gives them."""

from collections.abc import Sequence

from plumbline.errors import InputError, refuse

Row = float | Sequence[float | str] | dict[str, float | str]


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
    values = list(row) if isinstance(row, list | tuple) else [row]
    if len(values) != len(columns):
        raise refuse(where, f"{len(columns)} value(s): {', '.join(columns)}", row)
    return dict(zip(columns, values, strict=True))
