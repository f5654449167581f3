"""The model as MLflow serves it: raw columns in, predictions out.

MLflow copies this file into the artifact and runs it when the model is loaded, here or anywhere
else: it may import nothing of this project. Beside it are model.pt2 (the torch module),
encoding.json (which columns it takes) and encoding.py (plumbline/data/encoding.py, their rules).
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

# Rows encoded at once: memory stays bounded for any table.
CHUNK = 65_536


class ServedModel(mlflow.pyfunc.PythonModel):
    """A torch module for rows in raw units, as they stand in a table.

    Attributes:
        module: the torch module, (n, d) to (n, 1) in `dtype`, or to the logits of K classes.
        encoding: from raw columns to the module's features.
        error: what it raises for a value that no prediction can be made from.
        named: whether rows are columns by name (a table) or arrays (n, d).
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
            params: {"interval": True} asks for the interval.

        Returns:
            (n, 1) in the model's precision; of classes a frame with the columns `prediction`, the
            name of the likeliest, and `probability_` with the name of each; with the interval one
            with `prediction`, `lower` and `upper`.

        Raises:
            MlflowException: a column is missing, a value is no number or a level is unknown.
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
            return pd.DataFrame(columns, columns=list(self.encoding.predicted))
        return self._of_classes(output) if self.encoding.classes else output

    def _of_classes(self, logits: np.ndarray) -> pd.DataFrame:
        names, *probabilities = self.encoding.predicted
        values = torch.from_numpy(logits).double().softmax(dim=1).numpy()
        found = pd.DataFrame(values, columns=probabilities)
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
    """Run a file stored with the model; one process can load models of several versions."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


set_model(ServedModel())
