"""What a run made of its data: everything that a record of it needs."""

from collections.abc import Sequence
from dataclasses import dataclass

from plumbline.config.schema import Config
from plumbline.linear.dataset import Dataset
from plumbline.training.loop import Trained
from plumbline.training.prediction import Predicted


@dataclass(frozen=True)
class Result:
    """A trained experiment.

    Attributes:
        config: the experiment.
        data: what it was trained on.
        trained: the model.
        metrics: as `measure` gives them.
        predictions: for the configured inputs.
    """

    config: Config
    data: Dataset
    trained: Trained
    metrics: dict[str, float]
    predictions: Sequence[Predicted]

    @property
    def all_metrics(self) -> dict[str, float]:
        """The metrics, and each prediction as `prediction_` with its input."""
        return self.metrics | {f"prediction_{p.label}": p.value for p in self.predictions}
