"""Encode a table's raw columns as the model's features, one-hot against a reference level.

Training and serving apply the same rules because they run this same file: it is copied into every
stored model, so it must not import anything from this project.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

MOST_SHOWN = 20
COUNTED = ("year", "month", "day", "day_of_week", "hour", "minute")  # parts of a date; Monday is 0
PERIODS = {"month": 12, "day_of_week": 7, "hour": 24}
PARTS = (*COUNTED, *(f"{part}_{wave}" for part in PERIODS for wave in ("sin", "cos")))
MISSING = "(missing)"  # the level of missing values
OTHER = "(other)"  # the level of all values without one of their own
UNKNOWN = -1.0  # the index of a value that is no known level


class EncodingError(ValueError):
    """A value from which no prediction can be made.

    Attributes:
        column, row: the place of the value; rows count from 0.
        allowed: what it must be.
        found: what was found instead.
    """

    def __init__(self, column: str, row: int, allowed: str, found: str) -> None:
        super().__init__(f"column '{column}' must be {allowed}. Got {found} instead.")
        self.column, self.row, self.allowed, self.found = column, row, allowed, found


@dataclass(frozen=True)
class Encoding:
    """The encoding of raw columns as features.

    Attributes:
        numeric: the numeric features: unchanged columns, and parts of dates, `column.hour`.
        levels: each categorical column's levels; the first is the reference and has no feature.
        classes: the names of the target's classes, sorted; empty if the target is a number.
        half_width: half the width of the prediction interval; None if there is none.
        means: the value that replaces a missing number, by column; empty: such rows are refused.
        holes: the numeric columns with an indicator of missing values (a key of encoding.json).
        log_target: whether the model was trained on the target's logarithm; half_width is then in
            logarithms, but predictions are in the target's own units.
        shares: by column, the encoding of an unknown level: the share of the training rows of each
            level. Empty: such rows are refused, unless "(other)" is a level.
        dates: the columns of dates and times, with the parts that are features.
    """

    numeric: tuple[str, ...]
    levels: dict[str, tuple[str, ...]]
    classes: tuple[str, ...] = ()
    half_width: float | None = None
    means: dict[str, float] = field(default_factory=dict)
    holes: tuple[str, ...] = ()
    log_target: bool = False
    shares: dict[str, tuple[float, ...]] = field(default_factory=dict)
    dates: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        columns: Sequence[str],
        categorical: Sequence[str] | Mapping[str, Sequence[str]],
        target: str = "",
        dates: Sequence[str] = (),
    ) -> "Encoding":
        """Make the encoding of the columns that a pass found.

        Args:
            columns: numeric columns and indicators, including those of the target's classes.
            categorical: the categorical columns; a column without levels gets those found in
                the pass, sorted, with "(missing)" last.
            target: the column to predict, if it may have classes; otherwise "".
            dates: columns of dates; all their parts must be among `columns`.
        """
        given = categorical if isinstance(categorical, Mapping) else {}
        found = {
            column: sorted(levels_in(columns, column), key=lambda level: (level == MISSING, level))
            for column in categorical
        }
        levels = {c: tuple(dict.fromkeys([*given.get(c, ()), *found[c]])) for c in categorical}
        classes = tuple(sorted(levels_in(columns, target), key=_place)) if target else ()
        holes = tuple(columns_with_missing(columns))
        indicators = {*names_of(found | {target: classes}), *map(missing_indicator, holes)}
        numeric = tuple(name for name in columns if name not in indicators)
        return cls(numeric, levels, classes, holes=holes, dates=dict.fromkeys(dates, PARTS))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Encoding":
        """The inverse of dataclasses.asdict, also after JSON; other keys are ignored."""
        names = {each.name for each in fields(cls)} & {*values}
        return cls(**{name: _with_tuples(values[name]) for name in names})

    @property
    def columns(self) -> tuple[str, ...]:
        """The raw columns that a row must have."""
        return (*self.numbers, *self.dates, *self.levels)

    @property
    def numbers(self) -> tuple[str, ...]:
        """The raw numeric columns."""
        return tuple(name for name in self.numeric if name not in self.origin)

    @cached_property
    def origin(self) -> dict[str, str]:
        """The column that each part of a date comes from."""
        return {name: c for c, parts in self.dates.items() for name in parts_of(c, parts)}

    @property
    def features(self) -> tuple[str, ...]:
        """The model's features: numeric ones, then the indicators of missing values, then an
        indicator for each level but the first."""
        levels = names_of({c: found[1:] for c, found in self.levels.items()})
        return (*self.numeric, *map(missing_indicator, self.holes), *levels)

    @property
    def predicted(self) -> tuple[str, ...]:
        """The columns of a prediction: `prediction`, the probability of each class if there are
        classes, and `lower` and `upper` if there is an interval."""
        ends = () if self.half_width is None else ("lower", "upper")
        return ("prediction", *(f"probability_{name}" for name in self.classes), *ends)

    def interval(self, predicted: np.ndarray) -> np.ndarray:
        """The ends of the intervals around predictions (n,): (2, n)."""
        away = self.half_width * np.array([[-1.0], [1.0]])
        return predicted * np.exp(away) if self.log_target else predicted + away

    def encode(self, frame: pd.DataFrame) -> np.ndarray:
        """Encode rows as features: (n, d) float64.

        Raises:
            EncodingError: a value is missing or not a finite number, or a level is unknown.
        """
        values = self.read(frame)
        if error := self.first_error(frame, values):
            raise error
        return self.features_of(values)

    def features_of(self, values: np.ndarray) -> np.ndarray:
        """Convert the result of `read`, which must be finite, to features: (n, d) float64."""
        count = len(self.numeric)
        numbers, levels, holes = np.split(values, [count, count + len(self.levels)])
        columns = [*numbers, *holes]
        for places, (name, known) in zip(levels, self.levels.items(), strict=True):
            shares = self.shares.get(name, (0.0,) * len(known))
            columns += [
                np.where(places == UNKNOWN, shares[i], places == i) for i in range(1, len(known))
            ]
        return np.stack(columns, axis=1, dtype=np.float64)

    def read(self, frame: pd.DataFrame) -> np.ndarray:
        """Read raw columns as numbers: (numeric features + levels + missing indicators, n).

        The rows are the numeric features, the index of the level in each categorical column, and 1
        for each missing value. A value that is not a number, or that is missing without a mean, is
        NaN; an unknown level is NaN, or UNKNOWN if it is encoded as shares.
        """
        numbers = {name: _numbers(frame[name]) for name in self.numbers}
        for column, parts in self.dates.items():
            found = date_parts(frame[column])
            numbers |= {f"{column}.{part}": found[part] for part in parts}
        filled = [name for name in self.numeric if name in self.means]
        absent = {name: frame[self.origin.get(name, name)].isna() for name in filled}
        for name in filled:
            numbers[name] = np.where(absent[name], self.means[name], numbers[name])
        places = [_places(frame[n], known, n in self.shares) for n, known in self.levels.items()]
        holes = [absent[name] for name in self.holes]
        return np.stack([*(numbers[name] for name in self.numeric), *places, *holes])

    def first_error(self, frame: pd.DataFrame, values: np.ndarray) -> EncodingError | None:
        """The error for the first row whose values, as `read` returns them, are not finite."""
        wrong = ~np.isfinite(values)
        if not wrong.any():
            return None
        row = int(wrong.any(axis=0).argmax())
        place = int(wrong[:, row].argmax())
        column = [*(self.origin.get(n, n) for n in self.numeric), *self.levels][place]
        value = frame[column].iloc[row]
        missing = pd.api.types.is_scalar(value) and pd.isna(value)
        if known := self.levels.get(column):
            more = f" or {len(known) - MOST_SHOWN} more" if len(known) > MOST_SHOWN else ""
            allowed, found = f"one of {', '.join(known[:MOST_SHOWN])}{more}", repr(level_of(value))
        elif column in self.dates:
            allowed, found = "a date or time in ISO 8601", repr(value)
        elif missing or isinstance(value, float | np.floating):
            allowed, found = "a finite number", str(value)
        else:
            allowed, found = "a number", repr(value)
        found = "a missing value (empty or NaN)" if missing else found[:80]
        return EncodingError(column, row, allowed, found)


def names_of(levels: Mapping[str, Sequence[str]]) -> list[str]:
    """The names of indicators: `column=level`."""
    return [f"{column}={level}" for column, found in levels.items() for level in found]


def levels_in(names: Sequence[str], column: str) -> list[str]:
    """The levels of a column whose indicators are among the names."""
    return [name[len(column) + 1 :] for name in names if name.startswith(f"{column}=")]


def missing_indicator(column: str) -> str:
    """The name of the indicator of missing values in a column."""
    return f"{column}={MISSING}"


def columns_with_missing(columns: Sequence[str]) -> list[str]:
    """The numeric columns whose indicators of missing values are among the columns."""
    known = {*columns}
    return [name for name in columns if missing_indicator(name) in known]


def parts_of(column: str, parts: Sequence[str] = PARTS) -> list[str]:
    """The names of the parts of a date: `column.hour`."""
    return [f"{column}.{part}" for part in parts]


def date_parts(column: pd.Series) -> dict[str, np.ndarray]:
    """The parts of dates and times by name, each (n,) float64; NaN for values not in ISO 8601.

    A time with a zone is converted to UTC, one without is kept as written. The sines and cosines of
    periodic parts put December next to January.
    """
    if column.dtype.kind in "biufc":  # not a date; pandas would count from 1970
        column = pd.Series(pd.NaT, index=column.index)
    moments = pd.to_datetime(column, utc=True, errors="coerce", format="ISO8601").dt
    parts = {part: getattr(moments, part).to_numpy(np.float64) for part in COUNTED}
    for part, period in PERIODS.items():
        angle = 2 * np.pi / period * parts[part]
        parts |= {f"{part}_sin": np.sin(angle), f"{part}_cos": np.cos(angle)}
    return parts


def _with_tuples(value: Any) -> Any:
    """Replace the lists of JSON by tuples, also inside mappings."""
    if isinstance(value, Mapping):
        return {name: _with_tuples(each) for name, each in value.items()}
    return tuple(value) if isinstance(value, list) else value


def _place(name: str) -> tuple[float, str]:
    """The sort key of a class: numbers by value, before text."""
    try:
        return float(name), name
    except ValueError:
        return np.inf, name


def _numbers(column: pd.Series) -> np.ndarray:
    """Convert a column to float64; text is NaN, even if it reads as a number."""
    if column.dtype.kind in "biuf":
        return column.to_numpy(np.float64, na_value=np.nan)
    return np.array([_number(value) for value in column], dtype=np.float64)


def _number(value: Any) -> float:
    try:
        return np.nan if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError):
        return np.nan


def _places(column: pd.Series, known: Sequence[str], shared: bool) -> np.ndarray:
    """The index of each value among the known levels, as float64; for an unknown value that of
    "(other)" if it is a level, otherwise UNKNOWN if `shared`, otherwise NaN."""
    written = isinstance(column.dtype, pd.StringDtype)
    text = column if written else column.map(level_of, na_action="ignore")
    places = pd.Index(known).get_indexer(text)
    if (lost := (places < 0) & column.notna().to_numpy()).any():
        alike = {spelling_of(level): place for place, level in enumerate(known)}
        places[lost] = [alike.get(spelling_of(value), -1) for value in text[lost]]
    missing = known.index(MISSING) if MISSING in known else np.nan
    other = known.index(OTHER) if OTHER in known else UNKNOWN if shared else np.nan
    return np.where(column.isna(), missing, np.where(places < 0, other, places))


def spelling_of(level: str) -> str:
    """2 for 2.0, which pandas writes if a value is missing; true for True; a for ' a' of CSV."""
    whole = (level := level.strip()).removesuffix(".0")
    whole = whole if whole.lstrip("-").isdigit() else level
    return whole.lower() if whole.lower() in ("true", "false") else whole


def level_of(value: object) -> str:
    """A value as text, as levels are in training: true for True, 2 for 2.0, 0.1 for its float32."""
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    if not isinstance(value, float):
        return str(value)
    if value.is_integer():
        return str(int(value))
    return str(np.float32(value) if np.float32(value) == value else value)
