"""What is wrong with a configuration and can be seen without reading the rows."""

from regression.columns import choose_columns
from regression.config import Config, TableData
from regression.inputs import named_values
from regression.window import choose_files


def check_inputs(config: Config) -> None:
    """Look at the first file's head, and at the inputs to predict.

    Raises:
        InputError: no such file, a named column is missing or no number, or an input does not fit
            the columns.
    """
    if not isinstance(config.data, TableData):
        return
    columns = choose_columns(config.data, choose_files(config.data).files[0])
    names = (*columns.numeric, *columns.categorical)
    for number, row in enumerate(config.prediction.inputs):
        named_values(row, names, f"prediction.inputs[{number}]")
