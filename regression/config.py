"""The configuration: one YAML file is one experiment.

This schema is the only list of keys. `--help`, docs/configuration.md, the error messages and the
parameters in MLflow are all made from it. It imports neither torch nor a file reader, so a wrong
key is reported at once.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from regression.gate_config import Drift, Registry, check_gates
from regression.runner_config import Ray, Runner
from regression.schedule_config import Notify, Schedule, Window
from regression.section import Count, Fraction, Name, NotNegative, Section, Seed, disagreement
from regression.training_config import Training
from regression.uris import holds_secret


class Split(Section):
    """What both kinds of data share: which rows are held out."""

    test_fraction: Fraction = Field(
        0.0,
        description="share of the rows held out for testing; a row's place follows from "
        "(seed, file name, row number) alone, so adding files moves no row",
    )
    folds: Literal[0] | Annotated[int, Field(ge=2, le=100)] = Field(
        0, description="folds of the training rows for cross-validation; 0: none"
    )
    seed: Seed = Field(42, description="seed of the split, and of generated data")


class SyntheticData(Split):
    """Rows made here: y = x · weights + bias + noise."""

    kind: Literal["synthetic"] = Field(description="generated rows")
    x: Annotated[list[float] | list[list[float]], Field(min_length=1)] | None = Field(
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
            raise disagreement("data.x", "data.rows", "exactly one of the two", self._given())
        if self.x_range[0] >= self.x_range[1]:
            raise disagreement("data.x_range", "[low, high] with low < high", self.x_range)
        widths = {len(row) if isinstance(row, list) else 1 for row in self.x or ()}
        if len(widths) > 1 or 0 in widths:
            raise disagreement(
                "data.x", "rows of one width, at least 1", f"widths {sorted(widths)}"
            )
        for key, width in (("data.features", self.features), ("data.weights", self._weighted())):
            if width not in (None, self.width):
                raise disagreement(key, f"of width {self.width}, as the other keys say", width)
        return self

    def _given(self) -> str:
        return "both" if self.x is not None else "neither"

    def _weighted(self) -> int | None:
        return None if self.weights is None else len(self.weights)

    @property
    def width(self) -> int:
        """Number of features."""
        if self.x is not None:
            return len(self.x[0]) if isinstance(self.x[0], list) else 1
        return self.features or self._weighted() or 1


class TableData(Split):
    """Rows read from CSV or Parquet files."""

    kind: Literal["table"] = Field(description="rows of files")
    path: Name = Field(
        description="a file, a folder or a glob of CSV or Parquet files; local (relative to the "
        "working folder) or a URI such as s3://bucket/prefix"
    )
    target: Name = Field(description="the column to predict")
    features: Annotated[list[Name], Field(min_length=1)] | None = Field(
        None, description="the columns to predict from; default: every other numeric column"
    )
    categorical: list[Name] | dict[Name, Annotated[list[Name], Field(min_length=2)]] = Field(
        [],
        description="columns of names, encoded one-hot against a reference level (the first in "
        "sorted order, or the first given); a list finds the levels in the data, a mapping of "
        "column to levels gives them",
    )
    missing: Literal["error", "drop"] = Field(
        "error", description="rows with a missing value: stop there, or drop, count and say so"
    )
    window: Window | None = None

    @model_validator(mode="after")
    def _agrees(self) -> "TableData":
        if holds_secret(self.path):
            raise disagreement(
                "data.path",
                "without a password or key, because it is recorded (the environment gives them: "
                "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)",
                "one that has it",
            )
        named = [*(self.features or ()), *self.categorical]
        for key, names in (("features", self.features or ()), ("categorical", self.categorical)):
            if self.target in names:
                raise disagreement(
                    f"data.{key}", f"free of the target '{self.target}'", list(names)
                )
        twice = sorted({name for name in named if named.count(name) > 1})
        if twice:
            raise disagreement("data.features", "named once, here or in data.categorical", twice)
        return self


class Prediction(Section):
    """What to predict once trained."""

    inputs: list[float | list[float | str] | dict[str, float | str]] = Field(
        [], description="one entry a row: a number, a list, or a mapping of column to value"
    )


class Config(Section):
    """One experiment."""

    experiment: Annotated[Name, Field(max_length=500)] = Field(
        description="the MLflow experiment that the run belongs to"
    )
    data: Annotated[SyntheticData | TableData, Field(discriminator="kind")]
    training: Training = Training()
    prediction: Prediction = Prediction()
    registry: Registry | None = None
    drift: Drift | None = None
    schedule: Schedule | None = None
    notify: Notify | None = None
    runner: Runner = "threads"
    ray: Ray = Ray()

    @model_validator(mode="before")
    @classmethod
    def _standardize_tables(cls, raw: Any) -> Any:
        """Fill in the one default that depends on another section."""
        if not isinstance(raw, dict) or not isinstance(raw.get("data"), dict):
            return raw
        training = raw.get("training", {})
        if not isinstance(training, dict) or training.get("standardize") is not None:
            return raw
        table = raw["data"].get("kind") == "table"
        return {**raw, "training": {**training, "standardize": table}}

    @model_validator(mode="after")
    def _device_fits(self) -> "Config":
        if self.runner == "ray" and self.training.device not in ("auto", "cpu"):
            allowed = "auto or cpu with runner: ray (its workers compute on their CPUs)"
            raise disagreement("training.device", allowed, self.training.device)
        return self

    @model_validator(mode="after")
    def _weights_fit(self) -> "Config":
        window = self.data.window if isinstance(self.data, TableData) else None
        if window and window.half_life and not self.training.compressible:
            raise disagreement(
                "data.window.half_life",
                "left out unless training.loss is mse and training.batch_size is null (only the "
                "R factor carries the weights)",
                window.half_life,
            )
        return self

    @model_validator(mode="after")
    def _inputs_fit(self) -> "Config":
        width = self.data.width if isinstance(self.data, SyntheticData) else None
        for number, row in enumerate(self.prediction.inputs):
            found = len(row) if isinstance(row, list | dict) else 1
            if width not in (None, found):
                raise disagreement(
                    f"prediction.inputs[{number}]", f"{width} number(s), one a feature", row
                )
        return self

    @model_validator(mode="after")
    def _gates_fit(self) -> "Config":
        check_gates(self.registry, self.drift, self.data.test_fraction, self.data.folds)
        return self
