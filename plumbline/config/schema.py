"""The configuration: one YAML file is one experiment.

This schema is the only list of keys. `--help`, docs/configuration.md, the error messages and the
parameters in MLflow are all made from it. It imports neither torch nor a file reader, so a wrong
key is reported at once.
"""

from typing import Annotated, Any

from pydantic import Field, model_validator

from plumbline.config.data import Split as Split  # used from here
from plumbline.config.data import SyntheticData, TableData
from plumbline.config.registry import Drift, Registry, check_gates
from plumbline.config.retraining import Notify, Schedule
from plumbline.config.runner import Ray, Runner
from plumbline.config.section import Name, Section, disagreement
from plumbline.config.training import Training


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
