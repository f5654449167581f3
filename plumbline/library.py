"""Plumbline as a library: train and predict without a server, tracking or printed output."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import pandas as pd
from torch import Tensor, nn

from plumbline.config.loading import load_config as load_config
from plumbline.config.schema import Config, SyntheticData, TableData
from plumbline.data.blocks import Source
from plumbline.data.inputs import Row, check_inputs
from plumbline.data.levels import count_levels, with_levels
from plumbline.data.sources import Synthetic, Table, open_table
from plumbline.errors import InputError, TooManyLevelsError, refuse
from plumbline.linear.compress import compress
from plumbline.linear.dataset import Dataset
from plumbline.linear.sample import most_of_each
from plumbline.linear.summary import Summary, combine, within_levels
from plumbline.threads import in_threads
from plumbline.training import experiment
from plumbline.training.device import device_of
from plumbline.training.nets import with_budget
from plumbline.training.prediction import encoded, outputs_of
from plumbline.training.trained import OnEpoch, Trained
from plumbline.training.user_trial import check_model

Rows: TypeAlias = Sequence[Row] | np.ndarray | Tensor | pd.DataFrame


@dataclass(frozen=True)
class Model:
    """A trained experiment.

    Attributes:
        config: the experiment.
        data: what it was trained on.
        trained: the module, the loss of every epoch, and the exact optimum.
    """

    config: Config
    data: Dataset
    trained: Trained

    @property
    def module(self) -> nn.Module:
        """The model: maps raw features (n, d), float64, to predictions (n, 1), or for K classes to
        logits (n, K)."""
        return self.trained.module


def train(config: Config, on_epoch: OnEpoch = lambda epoch, loss, **others: None) -> Model:
    """Read the rows once and train from fresh weights, whatever training.start says.

    Args:
        config: the experiment.
        on_epoch: called after each epoch with its number and loss, and with validation_loss and
            learning_rate as keyword arguments if there are any.

    Raises:
        InputError: the configuration or the data is wrong.
        OSError: a file cannot be read.
        TrainingDivergedError: the loss became infinite or NaN.
    """
    config = check_inputs(config)
    check_model(config)
    device = device_of(config)
    data = read(config.data, device)
    config = with_budget(config, data.summary.train.rows)
    return Model(config, data, experiment.train(config, data, device, on_epoch))


def evaluate(model: Model) -> dict[str, float]:
    """Return the metrics that a run records, by name, for the training and the held-out rows."""
    return experiment.measure(model.trained, model.data, model.config)


def predict(model: Model, rows: Rows) -> list[float | str]:
    """Predict the target of each row.

    Args:
        model: as `train` returns it.
        rows: each a number (if there is one feature), a list in the order of the columns, or a
            mapping of column to value; or an array or a tensor of such; or a DataFrame. Columns of
            a mapping or a DataFrame that are no features are ignored.

    Returns:
        One prediction per row, in units of the target, or the name of the most likely class.

    Raises:
        InputError: a row has the wrong width, lacks a column, or has an unknown or missing level,
            or `rows` is a single row.
    """
    classes, outputs = model.data.encoding.classes, _outputs(model, rows)
    if classes:
        return [classes[place] for place in outputs.argmax(dim=1).tolist()]
    return outputs[:, 0].tolist()


def predict_proba(model: Model, rows: Rows) -> pd.DataFrame:
    """Predict the probability of each class for each row.

    Args:
        model: as `train` returns it; its target has classes.
        rows: as for `predict`.

    Returns:
        A row for each of the rows, and a column for each of the K classes: (n, K), rows sum to 1.

    Raises:
        InputError: the target is a number, or as for `predict`.
    """
    classes = model.data.encoding.classes
    if not classes:
        raise InputError("predict_proba needs a target with classes; this one is a number.")
    return pd.DataFrame(_outputs(model, rows).softmax(dim=1).numpy(), columns=[*classes])


def _outputs(model: Model, rows: Rows) -> Tensor:
    if isinstance(rows, np.ndarray | Tensor):
        rows = rows.tolist()
    if isinstance(rows, Mapping | str) or not isinstance(rows, Iterable):
        raise refuse("rows", "a list of rows, even for one", rows)
    rows = rows if isinstance(rows, pd.DataFrame) else [*rows]
    return outputs_of(model.module, encoded(model.data.encoding, rows, "rows"))


def read(data: SyntheticData | TableData, device: str) -> Dataset:
    """Read the rows in one pass, files in parallel; a pass before it counts levels if a column has
    many of them.

    Raises:
        InputError: the data is wrong.
        OSError: a file cannot be read.
    """
    if isinstance(data, SyntheticData):
        source: Source = Synthetic(data)
        whole = combine([compress(source, part, data, device) for part in source.parts])
    else:
        source, whole = _read_table(open_table(data), data, device)
    return Dataset.of(whole, data, source, {"rows_dropped": whole.dropped})


def _read_table(table: Table, data: TableData, device: str) -> tuple[Table, Summary]:
    if table.columns.many:
        table, _ = with_levels(table, in_threads(partial(count_levels, table, data), table.parts))
    most_rows = most_of_each(table.files)

    def summarize(part: str) -> Summary:
        return compress(table, part, data, device, most_rows=most_rows[part])

    parts = in_threads(summarize, table.parts)
    ages = reversed(range(len(table.parts)))
    aged = (part.aged(age, data.half_life) for part, age in zip(parts, ages, strict=True))
    try:
        return table, combine(within_levels(aged, table.columns))
    except TooManyLevelsError as found:
        return _read_table(table.counting(found.column), data, device)
