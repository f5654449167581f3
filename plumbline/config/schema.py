"""The configuration: one YAML file is one experiment.

This schema is the only list of keys. `--help`, docs/configuration.md, the error messages and the
parameters in MLflow are all made from it. It imports neither torch nor a file reader, so a wrong
key is reported at once.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from plumbline.config.combinations import check_combinations
from plumbline.config.data import Split, SyntheticData, TableData
from plumbline.config.running import Drift, Notify, Ray, Registry, Runner, Schedule
from plumbline.config.section import Name, Section, without_auto
from plumbline.config.training import Linear, Model, Training
from plumbline.errors import must_be

# the sections that other modules import from here
__all__ = ["Config", "Model", "Split", "SyntheticData", "TableData", "Training", "without_auto"]
FOLDS = 10  # for a penalty of strength auto, if data.folds is 0


class Prediction(Section):
    """What to predict after training."""

    inputs: list[float | list[float | str] | dict[str, float | str]] = Field([])
    """rows to predict: each a number, a list, or a mapping of column to value, of which columns
    that are no features are ignored"""

    interval: Annotated[float, Field(gt=0, lt=1)] | None = None
    """share of new rows whose target should lie between the columns lower and upper of every
    prediction; from the residuals of held-out rows (split conformal)"""

    explain: Literal["auto"] | bool = "auto"
    """measure how much worse the model gets on held-out rows if a column is permuted, in
    importance.json and a plot; auto: for nets, if rows are held out"""

    test_rows: Annotated[int, Field(ge=0)] = 10_000
    """the most held-out rows that a run saves with their predictions, in test_predictions.parquet;
    0: none"""


class Config(Section):
    """One experiment."""

    experiment: Annotated[Name, Field(max_length=500)]
    """the MLflow experiment that the run belongs to"""

    data: Annotated[SyntheticData | TableData, Field(discriminator="kind")]
    model: Model = Linear()
    training: Training = Training()
    prediction: Prediction = Prediction()
    registry: Registry | None = None
    drift: Drift | None = None
    schedule: Schedule | None = None
    notify: Notify | None = None
    runner: Runner = "threads"
    ray: Ray = Ray()

    @model_validator(mode="after")
    def resolved(self) -> "Config":
        """The same experiment with the defaults that depend on other keys filled in."""
        if isinstance(self.data, SyntheticData):
            return self.of_target(classes=False)
        return self._with_defaults(classes=False)

    def of_target(self, classes: bool) -> "Config":
        """The same experiment with loss and metric auto resolved for the target's type.

        Raises:
            InputError: two keys do not go together, or one does not suit such a target.
        """
        found = self._with_defaults(classes)
        loss = found.training.loss
        if loss == "auto":
            loss = "cross_entropy" if classes else "mse"
        elif (loss == "cross_entropy") != classes:
            allowed, what = ("cross_entropy", "has classes") if classes else ("mse", "is a number")
            raise must_be("training.loss", f"auto or {allowed}, since the target {what}", loss)
        if classes and found.prediction.interval:
            allowed = "null, since the target has classes"
            raise must_be("prediction.interval", allowed, found.prediction.interval)
        training = found.training.model_copy(update={"loss": loss})
        registry = found.registry and found.registry.of_target(classes)
        found = found.model_copy(update={"training": training, "registry": registry})
        check_combinations(found)
        return found

    def _with_defaults(self, classes: bool) -> "Config":
        kind = self.model.kind
        standardize = isinstance(self.data, TableData) or kind == "mlp"
        training = self.training.resolved(kind, standardize, classes)
        data = self.data
        if data.validation_fraction is None:
            share = 0.1 if training.patience else 0.0
            data = data.model_copy(update={"validation_fraction": share})
        if isinstance(data, TableData) and data.split.cut is not None and not data.test_fraction:
            data = data.model_copy(update={"test_fraction": "cut"})
        if training.penalty and training.penalty.strength == "auto" and not data.folds:
            data = data.model_copy(update={"folds": FOLDS})
        return self.model_copy(update={"training": training, "data": data})

    @model_validator(mode="after")
    def _agrees(self) -> "Config":
        check_combinations(self)
        width = self.data.width if isinstance(self.data, SyntheticData) else None
        for number, row in enumerate(self.prediction.inputs):
            found = len(row) if isinstance(row, list | dict) else 1
            if width not in (None, found):
                raise must_be(
                    f"prediction.inputs[{number}]", f"{width} number(s), one per feature", row
                )
        return self
