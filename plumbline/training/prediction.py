"""Predictions for the rows that the configuration asks about."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from plumbline.data.encoding import Encoding
from plumbline.data.inputs import Row, named_values
from plumbline.training.loop import Trained


@dataclass(frozen=True)
class Predicted:
    """One prediction.

    Attributes:
        input: the row as the configuration gives it.
        label: the input's values as one word for a metric's name, such as `5.0`.
        value: the prediction in units of the target.
    """

    input: Row
    label: str
    value: float


def predict(trained: Trained, encoding: Encoding, rows: Sequence[Row]) -> list[Predicted]:
    """Predict for each row, given as a number, a list in the order of the columns, or a mapping.

    Raises:
        InputError: a row has the wrong width, an unknown or missing column or level.
    """
    predicted = []
    for number, row in enumerate(rows):
        values = named_values(row, encoding.columns, f"prediction.inputs[{number}]")
        encoded = torch.tensor(encoding.encode(values), dtype=torch.float64)
        value = trained.intercept + float(encoded @ trained.weights)
        predicted.append(Predicted(row, "_".join(map(str, values.values())), value))
    return predicted
