"""From a table's raw columns to the model's features: one-hot against a reference level."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from plumbline.config.schema import SyntheticData, TableData
from plumbline.data.columns import names_of
from plumbline.errors import InputError, refuse


@dataclass(frozen=True)
class Encoding:
    """What the raw columns are, and which features they become.

    Attributes:
        numeric: numeric columns, features as they stand.
        levels: each categorical column's levels; the first is the reference and has no feature.
    """

    numeric: tuple[str, ...]
    levels: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, features: Sequence[str], data: SyntheticData | TableData) -> "Encoding":
        """The encoding of features named in a pass: levels found there are sorted."""
        if isinstance(data, SyntheticData) or not data.categorical:
            return cls(tuple(features), {})
        given = data.categorical if isinstance(data.categorical, dict) else {}
        found = {column: sorted(_levels(features, column)) for column in data.categorical}
        levels = {column: tuple(given.get(column, found[column])) for column in data.categorical}
        indicators = {name for column in levels for name in names_of({column: found[column]})}
        return cls(tuple(n for n in features if n not in indicators), levels)

    @property
    def columns(self) -> tuple[str, ...]:
        """The raw columns that a row must have."""
        return (*self.numeric, *self.levels)

    @property
    def features(self) -> tuple[str, ...]:
        """The model's features: numeric columns, then an indicator for each level but the first."""
        return (*self.numeric, *names_of({c: found[1:] for c, found in self.levels.items()}))

    def encode(self, row: Mapping[str, float | str]) -> list[float]:
        """The features of one row.

        Raises:
            InputError: a number is none, or a level is unknown.
        """
        encoded = [_number(name, row[name]) for name in self.numeric]
        for column, known in self.levels.items():
            level = _level(row[column])
            if level not in known:
                raise InputError(
                    f"column '{column}' must be one of {', '.join(known)}. Got '{level}' instead."
                )
            encoded += [float(level == each) for each in known[1:]]
        return encoded


def _levels(features: Sequence[str], column: str) -> list[str]:
    return [name[len(column) + 1 :] for name in features if name.startswith(f"{column}=")]


def _level(value: float | str) -> str:
    """A level as the data writes it: YAML's 2 arrives as 2.0."""
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole else str(value)


def _number(name: str, value: float | str) -> float:
    if isinstance(value, str):
        raise refuse(f"column '{name}'", "a number", value)
    return float(value)
