"""The configuration's section for data: generated rows, or rows of files."""

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from plumbline.config.rows import Together, Window
from plumbline.config.section import (
    Count,
    Fraction,
    Name,
    NotEmpty,
    NotNegative,
    Section,
    Seed,
    disagreement,
)

# in a URI: a password, or a key
SECRET = re.compile(
    r"^\w[\w+.-]*://[^/?@]*:[^/?@]*@|[?&]\w*(secret|password|token|key)\w*=", re.IGNORECASE
)


class Split(Section):
    """What both kinds of data share: which rows are held out."""

    test_fraction: Fraction | Literal["cut"] = Field(
        0.0,
        description="share of the rows (or groups) held out for testing; a row's place follows "
        "from (seed, file name, row number) alone, so adding files moves no row; cut: as "
        "data.split.cut says, and so it is if that is given",
    )
    validation_fraction: Fraction | None = Field(
        None,
        description="share of the other rows held out for the validation loss; null: 0.1 with "
        "training.patience, otherwise 0",
    )
    folds: Literal[0] | Annotated[int, Field(ge=2, le=100)] = Field(
        0, description="folds of the training rows for cross-validation; 0: none"
    )
    seed: Seed = Field(42, description="seed of the split, and of generated data")

    @property
    def holding_out(self) -> "Split":
        """These keys alone."""
        return Split(**{name: getattr(self, name) for name in Split.model_fields})


class SyntheticData(Split):
    """Rows made here: y = x · weights + bias + noise."""

    # what keys of tables are for rows of one age, alike, whole and all numbers
    half_life: ClassVar[None] = None
    weight: ClassVar[None] = None
    class_weight: ClassVar[Literal["none"]] = "none"
    unknown: ClassVar[Literal["error"]] = "error"
    missing: ClassVar[Literal["error"]] = "error"
    log_target: ClassVar[bool] = False

    kind: Literal["synthetic"] = Field(description="generated rows")
    x: NotEmpty[float] | NotEmpty[list[float]] | None = Field(
        None, description="the inputs: a list of numbers, or of rows of numbers; or give rows"
    )
    rows: Count | None = Field(None, description="number of rows to draw; or give x")
    features: Count | None = Field(
        None, description="number of features to draw; default: as many as weights, or 1"
    )
    x_range: Annotated[list[float], Field(min_length=2, max_length=2)] = Field(
        [-1.0, 1.0], description="drawn inputs are uniform in [low, high)"
    )
    weights: Annotated[list[float], Field(min_length=1)] | None = Field(
        None, description="true weights; default: drawn from seed, standard normal"
    )
    bias: float = Field(0.0, description="true bias, in units of y")
    noise: NotNegative = Field(0.0, description="standard deviation of the noise on y")

    @model_validator(mode="after")
    def _agrees(self) -> "SyntheticData":
        if (self.x is None) == (self.rows is None):
            given = "neither" if self.x is None else "both"
            raise disagreement("data.x", "data.rows", "exactly one of the two", given)
        if self.x_range[0] >= self.x_range[1]:
            raise disagreement("data.x_range", "[low, high] with low < high", self.x_range)
        widths = {len(row) if isinstance(row, list) else 1 for row in self.x or ()}
        if len(widths) > 1 or 0 in widths:
            raise disagreement(
                "data.x", "rows of one width, at least 1", f"widths {sorted(widths)}"
            )
        weights = None if self.weights is None else len(self.weights)
        for key, width in (("data.features", self.features), ("data.weights", weights)):
            if width not in (None, self.width):
                raise disagreement(key, f"of width {self.width}, as the other keys say", width)
        return self

    @property
    def width(self) -> int:
        """Number of features."""
        if self.x is not None:
            return len(self.x[0]) if isinstance(self.x[0], list) else 1
        return self.features or len(self.weights or ()) or 1


class TableData(Split):
    """Rows read from CSV, Parquet or Arrow files."""

    kind: Literal["table"] = Field(description="rows of files")
    path: Name = Field(
        description="a file, a folder or a glob of files, .csv or .tsv (also .gz or .zst), "
        ".parquet, .feather or .arrow; local (relative to the working folder) or a URI such as "
        "s3://bucket/prefix"
    )
    target: Name = Field(description="the column to predict")
    target_type: Literal["auto", "number", "class"] = Field(
        "auto",
        description="what the target is; auto: text and true or false are classes, numbers a "
        "number",
    )
    features: Annotated[list[Name], Field(min_length=1)] | None = Field(
        None,
        description="the columns to predict from; default: every other column, but what is left "
        "out as an index, an identifier or free text, with a note",
    )
    categorical: list[Name] | dict[Name, Annotated[list[Name], Field(min_length=2)]] = Field(
        [],
        description="columns of names, also if they hold numbers, encoded one-hot against a "
        "reference level (the first in sorted order, or the first given); a list finds the levels "
        "in the data, a mapping of column to levels gives them; text among the features is "
        "categorical without being named",
    )
    max_levels: Annotated[int, Field(ge=2)] = Field(
        100,
        description="levels of a categorical column: if it has more, the most frequent in the "
        "training rows are kept and the others share '(other)'; text that has more in the first "
        "rows is a feature only if it is named",
    )
    unknown: Literal["error", "other"] = Field(
        "error",
        description="a level that training did not meet, in a row to predict: error refuses the "
        "row; other reads it as the training rows' shares of the levels, the mean over them; in a "
        "column with '(other)' it is that",
    )
    exclude: list[Name] = Field(
        [], description="columns that are no feature: identifiers, and what gives the target away"
    )
    split: Together = Together()
    weight: Name | None = Field(
        None,
        description="a column of row weights >= 0, which count in every loss, metric and baseline; "
        "it is no feature, and a row of weight 0 counts for nothing",
    )
    class_weight: Literal["none", "balanced"] = Field(
        "none",
        description="balanced: the classes of the target count alike, in every loss, metric and "
        "baseline: a row's weight is multiplied by n / (classes * rows of its class)",
    )
    missing: Literal["error", "drop", "impute"] = Field(
        "error",
        description="rows with a missing value: stop there; drop, count and say so; or impute: a "
        "number is the mean of the training rows, with an indicator beside it, and in a "
        "categorical column it is a level of its own; a row without its target is dropped",
    )
    dates: Literal["auto"] | list[Name] = Field(
        "auto",
        description="columns that become numbers: year, month, day, day_of_week, hour and minute, "
        "and the sine and cosine of month, day_of_week and hour, those that vary, in UTC or as "
        "written without a zone; auto: timestamps, and text of which every value is a date or time "
        "in ISO 8601",
    )
    log_target: bool = Field(
        False,
        description="train on the logarithm of the target, which must be above 0; scores and "
        "predictions are in the target's own units (the median), while loss, optimal_mse, "
        "optimality_gap and linear_cv_* are of the logarithm",
    )
    delimiter: Literal["auto", ",", ";", "\t", "|"] = Field(
        "auto",
        description="of CSV files; auto: the one that gives every row as many values as "
        "there are names, a comma if that does (a tab in .tsv)",
    )
    decimal: Literal["auto", ".", ","] = Field(
        "auto",
        description="the decimal sign of CSV files; auto: a comma if the delimiter is "
        "another and all numbers in the first rows can be read so, otherwise a point",
    )
    encoding: Name = Field(
        "utf-8",
        description="of CSV files, any codec of Python, such as cp1252; a byte order mark "
        "of UTF-16 is understood without it",
    )
    window: Window | None = None
    limit: Count | None = Field(
        None,
        description="read this many rows, the first in the order of the files: for a quick try",
    )

    @property
    def half_life(self) -> float | None:
        """After how many files a row counts half; None: all count alike."""
        return self.window.half_life if self.window else None

    @model_validator(mode="after")
    def _agrees(self) -> "TableData":
        if SECRET.search(self.path):
            raise disagreement(
                "data.path",
                "without a password or key, because it is recorded (the environment gives them: "
                "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)",
                "one that has it",
            )
        try:
            "".encode(self.encoding)
        except (LookupError, ValueError):  # ValueError: a zero byte
            allowed = "a text encoding of Python, such as utf-8, cp1252 or utf-16"
            raise disagreement("data.encoding", allowed, self.encoding) from None
        lists = {"features": self.features or (), "categorical": self.categorical}
        lists["dates"] = () if self.dates == "auto" else self.dates
        if self.weight == self.target:
            raise disagreement("data.weight", "another column than the target", self.weight)
        for key, names in (*lists.items(), ("exclude", self.exclude)):
            for what, name in (("target", self.target), ("weight", self.weight)):
                if name in names and (what, key) != ("weight", "exclude"):
                    raise disagreement(f"data.{key}", f"free of the {what} '{name}'", list(names))
            if twice := sorted({name for name in names if list(names).count(name) > 1}):
                raise disagreement(f"data.{key}", "free of names that stand twice", twice)
            if key != "exclude" and (both := [name for name in self.exclude if name in names]):
                raise disagreement("data.exclude", f"free of names in data.{key}", both)
        return self
