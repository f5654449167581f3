"""Predictions for the rows that a configuration asks about."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch

from plumbline.config.schema import Config
from plumbline.data.encoding import Encoding, EncodingError
from plumbline.data.inputs import Row, named_values
from plumbline.errors import InputError
from plumbline.linear.dataset import Dataset
from plumbline.training.intervals import gaussian_interval, with_interval
from plumbline.training.trained import Trained


@dataclass(frozen=True)
class Prediction:
    """The prediction for one row that the configuration asks about.

    Attributes:
        input: the row as the configuration gives it.
        label: the input's values as one word for a metric's name, such as `5.0`.
        value: the prediction in units of the target; of classes the name of the likeliest.
        probabilities: of each class, by name; empty if the target is a number.
        interval: where prediction.interval of new targets lie; None if it is not asked for.
        gaussian: the same about the exact line, if errors are normal; None of other models.
    """

    input: Row
    label: str
    value: float | str
    probabilities: dict[str, float] = field(default_factory=dict)
    interval: tuple[float, float] | None = None
    gaussian: tuple[float, float] | None = None


def predict(
    trained: Trained,
    encoding: Encoding,
    rows: Sequence[Row],
    key: str = "prediction.inputs",
    level: float | None = None,
) -> list[Prediction]:
    """Predict for each row, given as a number, a list in the order of the columns, or a mapping.

    Args:
        trained: the model.
        encoding: from raw columns to its features, with the interval's half width if there is one.
        rows: what to predict.
        key: what an error calls the rows.
        level: of the interval about each prediction.

    Raises:
        InputError: a row has the wrong width, an unknown or missing column or level.
    """
    predictions = []
    for number, row in enumerate(rows):
        place = f"{key}[{number}]"
        values = named_values(row, encoding.columns, place)
        try:
            features = torch.from_numpy(encoding.encode(pd.DataFrame([values])))[0]
        except EncodingError as error:
            raise InputError(f"{place}: {error}") from None
        label = "_".join(map(str, values.values()))
        with torch.no_grad():
            output = trained.module(features[None])[0].double()
        if encoding.classes:
            probabilities = dict(zip(encoding.classes, output.softmax(dim=0).tolist(), strict=True))
            likeliest = encoding.classes[int(output.argmax())]
            predictions.append(Prediction(row, label, likeliest, probabilities))
            continue
        value, interval, gaussian = float(output), None, None
        if encoding.half_width is not None:
            interval = tuple(encoding.interval(np.array([value]))[:, 0].tolist())
            gaussian = trained.exact and gaussian_interval(trained.exact, features, level)
            if gaussian and encoding.log_target:
                gaussian = tuple(map(math.exp, gaussian))
        predictions.append(Prediction(row, label, value, interval=interval, gaussian=gaussian))
    return predictions


def predict_inputs(
    trained: Trained, data: Dataset, config: Config, metrics: Mapping[str, float]
) -> list[Prediction]:
    """The predictions that the configuration asks for, with the intervals that `measure` found."""
    encoding = with_interval(data.encoding, metrics)
    return predict(trained, encoding, config.prediction.inputs, level=config.prediction.interval)
