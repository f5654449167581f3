"""The configuration section `data`: generated rows, or rows read from files."""

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from plumbline.config.rows import SplitBy, Window
from plumbline.config.section import Count, Fraction, Name, NotEmpty, NotNegative, Section, Seed
from plumbline.errors import must_be

# a password or a key in a URI
SECRET = re.compile(
    r"^\w[\w+.-]*://[^/?@]*:[^/?@]*@|[?&]\w*(secret|password|token|key)\w*=", re.IGNORECASE
)


class Split(Section):
    """The keys that both kinds of data have: which rows are held out."""

    test_fraction: Fraction | Literal["cut"] = 0.0
    """share of the rows (or groups) held out for testing; which ones depends only on (seed, path
    below data.path, row number), so adding files moves no row; cut: the rows from data.split.cut
    on, and the default if that key is given"""

    validation_fraction: Fraction | None = None
    """share of the remaining rows held out for the validation loss; null: 0.1 with
    training.patience, otherwise 0"""

    folds: Literal[0] | Annotated[int, Field(ge=2, le=100)] = 0
    """cross-validation folds of the training rows; 0: no cross-validation"""

    seed: Seed = 42
    """seed of the split and of generated data"""

    @property
    def holding_out(self) -> "Split":
        """Only the keys of this class, without those of a subclass."""
        return Split(**{name: getattr(self, name) for name in Split.model_fields})


class SyntheticData(Split):
    """Generated rows: y = x · weights + bias + noise."""

    # a table's keys, as they apply to generated rows: equal weights, numbers, none missing
    half_life: ClassVar[None] = None
    weight: ClassVar[None] = None
    class_weight: ClassVar[Literal["none"]] = "none"
    unknown: ClassVar[Literal["error"]] = "error"
    missing: ClassVar[Literal["error"]] = "error"
    log_target: ClassVar[bool] = False

    kind: Literal["synthetic"]
    """generated rows"""

    x: NotEmpty[float] | NotEmpty[list[float]] | None = None
    """the inputs: a list of numbers or of rows; give x or rows, not both"""

    rows: Count | None = None
    """number of rows to draw; give x or rows, not both"""

    features: Count | None = None
    """number of features to draw; default: the length of weights, or 1"""

    x_range: Annotated[list[float], Field(min_length=2, max_length=2)] = Field([-1.0, 1.0])
    """drawn inputs are uniform in [low, high)"""

    weights: NotEmpty[float] | None = None
    """true weights; default: drawn from a standard normal by seed"""

    bias: float = 0.0
    """true bias, in units of y"""

    noise: NotNegative = 0.0
    """standard deviation of the noise on y"""

    @model_validator(mode="after")
    def _agrees(self) -> "SyntheticData":
        if (self.x is None) == (self.rows is None):
            given = "neither" if self.x is None else "both"
            raise must_be("data.x and data.rows", "exactly one of the two", given)
        if self.x_range[0] >= self.x_range[1]:
            raise must_be("data.x_range", "[low, high] with low < high", self.x_range)
        widths = {len(row) if isinstance(row, list) else 1 for row in self.x or ()}
        if len(widths) > 1 or 0 in widths:
            raise must_be("data.x", "rows of one width, at least 1", f"widths {sorted(widths)}")
        weights = None if self.weights is None else len(self.weights)
        for key, width in (("data.features", self.features), ("data.weights", weights)):
            if width not in (None, self.width):
                raise must_be(key, f"of width {self.width}, like the other keys", width)
        return self

    @property
    def width(self) -> int:
        """Number of features."""
        if self.x is not None:
            return len(self.x[0]) if isinstance(self.x[0], list) else 1
        return self.features or len(self.weights or ()) or 1


class TableData(Split):
    """Rows read from CSV, Parquet, Feather or Arrow files."""

    kind: Literal["table"]
    """rows read from files"""

    path: Name
    """a file, a folder or a glob: .csv or .tsv (also .gz or .zst), .parquet, .feather or .arrow; a
    local path, relative to the working directory, or a URI such as s3://bucket/prefix"""

    target: Name
    """the column to predict"""

    target_type: Literal["auto", "number", "class"] = "auto"
    """type of the target; auto: class for text and booleans, number for numbers"""

    features: NotEmpty[Name] | None = None
    """the columns to predict from; default: every other column except those that look like an
    index, an identifier or free text (a note lists those)"""

    categorical: list[Name] | dict[Name, Annotated[list[Name], Field(min_length=2)]] = Field([])
    """columns to encode one-hot against a reference level (the first in sorted order, or the first
    given), even if they hold numbers; a list takes the levels from the data, a mapping of column to
    levels sets them; text columns among the features are categorical without being listed"""

    max_levels: Annotated[int, Field(ge=2)] = 100
    """the most levels that a categorical column keeps: if it has more, the most frequent in the
    training rows stay and the rest become '(other)'; a text column with more in the first rows is a
    feature only if it is named"""

    unknown: Literal["error", "other"] = "error"
    """a level, in a row to predict, that training did not see: error refuses the row; other encodes
    it as the levels' shares of the training rows (their mean encoding), or as '(other)' if the
    column has that level"""

    exclude: list[Name] = Field([])
    """columns that are not features: identifiers, and those that leak the target"""

    split: SplitBy = SplitBy()

    weight: Name | None = None
    """a column of row weights >= 0, used in every loss, metric and baseline; it is not a feature,
    and a row of weight 0 has no effect"""

    class_weight: Literal["none", "balanced"] = "none"
    """balanced: all classes of the target weigh the same in every loss, metric and baseline; a
    row's weight is multiplied by n / (classes * rows of its class)"""

    missing: Literal["error", "drop", "impute"] = "error"
    """rows with a missing value: error stops the run; drop omits and counts them; impute replaces a
    number by the mean of the training rows and adds an indicator feature, makes missing a level of
    a categorical column, and drops rows without a target"""

    dates: Literal["auto"] | list[Name] = "auto"
    """columns to convert to numbers: year, month, day, day_of_week, hour and minute, and the sine
    and cosine of month, day_of_week and hour, keeping those that vary; in UTC, or as written if
    there is no time zone; auto: timestamps, and text columns whose values are all dates or times in
    ISO 8601, also with slashes (2024/03/01)"""

    log_target: bool = False
    """train on the logarithm of the target, which must be above 0; scores and predictions (of the
    median) are in the target's own units; loss, optimal_mse, optimality_gap and linear_cv_* are of
    the logarithm"""

    delimiter: Literal["auto", ",", ";", "\t", "|"] = "auto"
    """delimiter of CSV files; auto: the one that splits every row into as many values as there are
    column names, preferably a comma (a tab in .tsv)"""

    decimal: Literal["auto", ".", ","] = "auto"
    """decimal mark of CSV files; auto: a comma if it is not the delimiter and the first rows have
    decimal commas but no decimal points; otherwise a point"""

    encoding: Name = "utf-8"
    """encoding of CSV files: any Python codec, such as cp1252; UTF-16 with a byte order mark is
    recognised without it"""

    window: Window | None = None

    limit: Count | None = None
    """number of rows to read, the first in the order of the files: for a quick try"""

    @property
    def half_life(self) -> float | None:
        """The number of files after which a row's weight halves; None: all weigh the same."""
        return self.window.half_life if self.window else None

    @model_validator(mode="after")
    def _agrees(self) -> "TableData":
        if SECRET.search(self.path):
            raise must_be(
                "data.path",
                "without a password or key, because it is recorded (give them in the environment: "
                "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)",
                "one that has it",
            )
        try:
            "".encode(self.encoding)
        except (LookupError, ValueError):  # ValueError: a zero byte
            allowed = "a text encoding that Python knows, such as utf-8, cp1252 or utf-16"
            raise must_be("data.encoding", allowed, self.encoding) from None
        lists = {"features": self.features or (), "categorical": self.categorical}
        lists["dates"] = () if self.dates == "auto" else self.dates
        if self.weight == self.target:
            raise must_be("data.weight", "a column other than the target", self.weight)
        for key, names in (*lists.items(), ("exclude", self.exclude)):
            for what, name in (("target", self.target), ("weight", self.weight)):
                if name in names and (what, key) != ("weight", "exclude"):
                    raise must_be(f"data.{key}", f"without the {what} '{name}'", list(names))
            if twice := sorted({name for name in names if list(names).count(name) > 1}):
                raise must_be(f"data.{key}", "without duplicates", twice)
            if key != "exclude" and (both := [name for name in self.exclude if name in names]):
                raise must_be("data.exclude", f"without names that are in data.{key}", both)
        return self
