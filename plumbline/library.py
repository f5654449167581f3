"""Plumbline as a library: no server, no record, nothing printed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn

from plumbline.config.loading import load
from plumbline.config.schema import Config, SyntheticData, TableData
from plumbline.data.blocks import Source
from plumbline.data.inputs import Row, check_inputs
from plumbline.data.levels import count_levels, with_levels
from plumbline.data.sources import Synthetic, Table, open_table
from plumbline.errors import TooManyLevelsError
from plumbline.linear.compress import compress
from plumbline.linear.dataset import Dataset
from plumbline.linear.sample import most_of_each
from plumbline.linear.summary import Summary, combine, within_levels
from plumbline.threads import in_threads
from plumbline.training import experiment, prediction
from plumbline.training.device import device_of
from plumbline.training.nets import with_budget
from plumbline.training.trained import OnEpoch, Trained
from plumbline.training.user_trial import check_model


@dataclass(frozen=True)
class Model:
    """A trained experiment.

    Attributes:
        config: the experiment.
        data: what it was trained on.
        trained: the module, the loss of every epoch, and the exact optimum beside it.
    """

    config: Config
    data: Dataset
    trained: Trained

    @property
    def module(self) -> nn.Module:
        """Takes raw features, (n, d) float64, and returns predictions, (n, 1), or the logits of K
        classes, (n, K)."""
        return self.trained.module


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read an experiment from a YAML file, with `section.key=value` overrides.

    Raises:
        InputError: the file is not readable, or a key is unknown, missing or out of range.
    """
    return load(path, overrides)


def train(config: Config, on_epoch: OnEpoch = lambda epoch, loss, **others: None) -> Model:
    """Read the rows once and train; `on_epoch` is called with each epoch and its loss, and by name
    with the validation_loss and learning_rate if there are such. It always starts fresh.

    Raises:
        InputError: the configuration or the data is wrong. OSError: a file cannot be read.
        TrainingDivergedError: the loss became infinite or NaN.
    """
    config = check_inputs(config)
    check_model(config)
    device = device_of(config)
    data = read(config.data, device)
    config = with_budget(config, data.summary.train.rows)
    return Model(config, data, experiment.train(config, data, device, on_epoch))


def evaluate(model: Model) -> dict[str, float]:
    """The metrics that a run records, on the training rows and the held-out ones."""
    return experiment.measure(model.trained, model.data, model.config)


def predict(model: Model, rows: Sequence[Row]) -> list[float | str]:
    """A prediction for each row: a number, a list in the order of the columns, or a mapping.

    Returns:
        In units of the target; if it has classes, the name of the likeliest.

    Raises:
        InputError: a row has the wrong width, an unknown or missing column or level.
    """
    found = prediction.predict(model.trained, model.data.encoding, rows, "rows")
    return [each.value for each in found]


def read(data: SyntheticData | TableData, device: str) -> Dataset:
    """One pass over the rows, a file a thread; one more before it over columns of many levels."""
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
