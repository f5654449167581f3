"""The model as MLflow serves it: raw columns in, predictions out.

MLflow copies this file into the artifact and runs it when the model is loaded, here or anywhere
else: it may import nothing of this project. The numbers come from two safe files beside it,
model.pt2 (the torch module) and encoding.json (which columns it takes).
"""

import json
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pandas as pd
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import set_model

# Rows encoded at once: memory stays bounded for any table.
CHUNK = 65_536


class LinearModel(mlflow.pyfunc.PythonModel):
    """y = intercept + x · weights, for rows in raw units.

    Attributes:
        module: the torch module, (n, d) to (n, 1) in `dtype`.
        numeric: numeric columns; levels: each categorical column's levels, the first the reference.
        named: whether rows are columns by name (a table) or arrays (n, d).
    """

    def load_context(self, context: mlflow.pyfunc.PythonModelContext) -> None:
        folder = Path(context.artifacts["module"])
        told = json.loads((folder / "encoding.json").read_text())
        self.named, self.numeric, self.levels = told["named"], told["numeric"], told["levels"]
        self.dtype = getattr(torch, told["dtype"])
        self.module = torch.export.load(folder / "model.pt2").module()

    def predict(
        self,
        context: mlflow.pyfunc.PythonModelContext,
        model_input: pd.DataFrame,
        params: dict | None = None,
    ) -> np.ndarray:
        """Predict for an array (n, d) or a data frame.

        Returns:
            (n, 1) in the model's precision.

        Raises:
            MlflowException: a column is missing, a value is no number or a level is unknown.
        """
        frame = pd.DataFrame(model_input)
        if not self.named:
            self._check_width(frame)
        parts = [self._chunk(frame[i : i + CHUNK]) for i in range(0, max(1, len(frame)), CHUNK)]
        return np.concatenate(parts)

    def _chunk(self, frame: pd.DataFrame) -> np.ndarray:
        columns = [self._numbers(frame[name], name) for name in self.numeric]
        for name, levels in self.levels.items():
            columns += self._indicators(frame[name], name, levels)
        rows = torch.from_numpy(np.column_stack(columns)).to(self.dtype)
        with torch.no_grad():
            return self.module(rows).numpy()

    def _check_width(self, frame: pd.DataFrame) -> None:
        if frame.shape[1] != len(self.numeric):
            raise MlflowException.invalid_parameter_value(
                f"rows must have {len(self.numeric)} values. Got {frame.shape[1]} instead."
            )
        frame.columns = self.numeric

    def _numbers(self, column: pd.Series, name: str) -> np.ndarray:
        """A column as finite numbers; text that reads as a number is none."""
        try:
            if column.dtype.kind not in "biuf" and any(isinstance(v, str) for v in column):
                raise TypeError
            numbers = column.to_numpy(dtype=np.float64)
        except (TypeError, ValueError):
            raise MlflowException.invalid_parameter_value(
                f"column '{name}' must hold numbers. Got {column.dtype} instead."
            ) from None
        wrong = numbers[~np.isfinite(numbers)]
        if len(wrong):
            found = "a missing value" if np.isnan(wrong[0]) else wrong[0]
            raise MlflowException.invalid_parameter_value(
                f"column '{name}' must hold finite numbers. Got {found} instead."
            )
        return numbers

    def _indicators(self, column: pd.Series, name: str, levels: list[str]) -> list[np.ndarray]:
        text = column.map(_level).to_numpy()
        missing = column.isna().to_numpy()
        wrong = missing | ~np.isin(text, levels)
        if wrong.any():
            first = int(wrong.argmax())
            raise MlflowException.invalid_parameter_value(
                f"column '{name}' must be one of {', '.join(levels)}. "
                f"Got {'a missing value' if missing[first] else repr(text[first])} instead."
            )
        return [(text == level).astype(np.float64) for level in levels[1:]]


def _level(value: object) -> str:
    """A level as the training data's text: true, and 2 also for 2.0."""
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole else str(value)


set_model(LinearModel())
