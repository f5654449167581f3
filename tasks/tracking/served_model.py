"""The model as MLflow serves it, from raw columns to predictions.

MLflow copies this file into the artifact and runs it when the model is loaded, on any machine, so
it must not import anything from this project. The artifact also has model.pt2 (the torch module),
encoding.json (the columns) and encoding.py (a copy of plumbline/data/encoding.py).
"""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import mlflow.pyfunc
import numpy as np
import pandas as pd
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import set_model

CHUNK = 65_536  # rows encoded at once, so that memory does not grow with the table


class ServedModel(mlflow.pyfunc.PythonModel):
    """A torch module that predicts rows of raw columns, as they are in a table.

    Attributes:
        module: maps features, (n, d) in `dtype`, to (n, 1) or to the logits of K classes, (n, K).
        dtype: the dtype of the features.
        encoding: from raw columns to the module's features.
        error: the exception for a value from which no prediction can be made.
        named: whether rows have named columns (a table) or are arrays, (n, d).
    """

    def load_context(self, context: mlflow.pyfunc.PythonModelContext) -> None:
        folder = Path(context.artifacts["module"])
        stored = json.loads((folder / "encoding.json").read_text())
        self.named, self.dtype = stored["named"], getattr(torch, stored["dtype"])
        rules = _module_of(folder / "encoding.py")
        self.encoding, self.error = rules.Encoding.from_dict(stored), rules.EncodingError
        self.module = torch.export.load(folder / "model.pt2").module()

    def predict(
        self,
        context: mlflow.pyfunc.PythonModelContext,
        model_input: pd.DataFrame,
        params: dict | None = None,
    ) -> np.ndarray | pd.DataFrame:
        """Predict for an array (n, d) or a data frame.

        Args:
            context: MLflow's; not used.
            model_input: the rows.
            params: {"interval": True} requests the prediction interval.

        Returns:
            (n, 1) in the model's precision. For classes, a frame with the columns `prediction`, the
            name of the most probable class, and `probability_NAME` for each class; with an
            interval, a frame with the columns `prediction`, `lower` and `upper`. Frames have the
            index of the rows.

        Raises:
            MlflowException: a column is missing, a value is not a number or a level is unknown.
        """
        frame = pd.DataFrame(model_input)
        if not self.named:
            self._check_width(frame)
        starts = range(0, max(1, len(frame)), CHUNK)
        try:
            output = np.concatenate([self._chunk(frame[i : i + CHUNK]) for i in starts])
        except self.error as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None
        if params and params.get("interval"):
            columns = np.stack([output[:, 0], *self.encoding.interval(output[:, 0])], axis=1)
            return pd.DataFrame(columns, frame.index, self.encoding.predicted)
        return self._of_classes(output, frame.index) if self.encoding.classes else output

    def _of_classes(self, logits: np.ndarray, index: pd.Index) -> pd.DataFrame:
        names, *probabilities = self.encoding.predicted
        values = torch.from_numpy(logits).double().softmax(dim=1).numpy()
        found = pd.DataFrame(values, index, probabilities)
        found.insert(0, names, np.array(self.encoding.classes, dtype=object)[logits.argmax(axis=1)])
        return found

    def _chunk(self, frame: pd.DataFrame) -> np.ndarray:
        rows = torch.from_numpy(self.encoding.encode(frame)).to(self.dtype)
        with torch.no_grad():
            return self.module(rows).numpy()

    def _check_width(self, frame: pd.DataFrame) -> None:
        columns = self.encoding.columns
        if frame.shape[1] != len(columns):
            raise MlflowException.invalid_parameter_value(
                f"rows must have {len(columns)} values. Got {frame.shape[1]} instead."
            )
        frame.columns = columns


def _module_of(path: Path) -> ModuleType:
    """Run a file of the artifact as a module, which is not put into sys.modules: a process can load
    models with different versions of it."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


set_model(ServedModel())
