"""The model artifact: one folder that loads with mlflow.pyfunc and with mlflow.pytorch.

This module is a flavor in MLflow's sense: Model.log calls its save_model. The artifact takes raw
columns by models-from-code and holds the weights in PyTorch's pt2 format, without pickle.
"""

import inspect
import json
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pandas as pd
import torch
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import (
    AnyType,
    ColSpec,
    DataType,
    ParamSchema,
    ParamSpec,
    Schema,
    TensorSpec,
)
from torch import nn

from plumbline.data.encoding import Encoding
from plumbline.training.exported import export, input_type
from tasks.tracking.run import Run

SERVED = Path(__file__).with_name("served_model.py")
ENCODING = Path(inspect.getfile(Encoding))
MODULE_FOLDER = "module"
REQUIREMENTS = ("torch", "mlflow", "numpy", "pandas")


@dataclass(frozen=True)
class ModelToLog:
    """A trained model with all that its artifact holds.

    Attributes:
        module: maps features in raw units, (n, d), to predictions, (n, 1), or to the logits of K
            classes, (n, K); as `export` takes it.
        encoding: of raw columns as features.
        named: whether rows have named columns (tables) or are arrays (synthetic data).
        example: two or more raw rows, stored as the model's input example.
    """

    module: nn.Module
    encoding: Encoding
    named: bool
    example: pd.DataFrame

    @property
    def given(self) -> pd.DataFrame | np.ndarray:
        """The example as users of the model give rows to it."""
        return self.example if self.named else self.example.to_numpy()


def log_model(run: Run, trained: ModelToLog) -> str:
    """Log a model as the artifact `model` of the run that trained it, with the run's params; return
    its URI."""
    client, params = run.client, run.client.get_run(run.id).data.params
    # created here, because Model.log would create it in the process's current experiment
    created = client.create_logged_model(run.experiment_id, "model", run.id, params=params)
    ids = {"run_id": run.id, "model_id": created.model_id}
    info = Model.log(None, sys.modules[__name__], **ids, trained=trained)
    client.finalize_logged_model(created.model_id, "READY")
    return info.model_uri


def save_model(path: str, mlflow_model: Model, trained: ModelToLog) -> None:
    """Write the artifact's folder; called by Model.log."""
    module, encoding = trained.module, trained.encoding
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / MODULE_FOLDER
        folder.mkdir()
        (folder / "model.pt2").write_bytes(export(module, len(encoding.features)))
        shutil.copy(ENCODING, folder)
        dtype = str(input_type(module)).removeprefix("torch.")
        stored = {**asdict(encoding), "named": trained.named, "dtype": dtype}
        (folder / "encoding.json").write_text(json.dumps(stored))
        mlflow.pyfunc.save_model(
            path,
            python_model=str(SERVED),
            artifacts={"module": str(folder)},
            signature=_signature(encoding, trained.named, dtype),
            mlflow_model=mlflow_model,
            input_example=trained.given,
            # exact versions, written down rather than inferred
            pip_requirements=[f"{name}=={version(name).split('+')[0]}" for name in REQUIREMENTS],
        )
    mlflow_model.add_flavor(
        "pytorch",
        model_data=f"artifacts/{MODULE_FOLDER}",
        pytorch_version=str(torch.__version__),  # mlflow.pytorch warns of any other
        code=None,
    )
    mlflow_model.save(str(Path(path) / "MLmodel"))


def check_stored(uri: str, trained: ModelToLog, tolerance: float) -> None:
    """Load a model that was logged, and compare what it predicts of the example's rows.

    Args:
        uri: of the stored model.
        trained: as `log_model` was given it.
        tolerance: the largest relative difference between the predictions of the two modules.

    Raises:
        RuntimeError: the stored module differs from the given one, or pyfunc from the stored one.
    """
    model = mlflow.pyfunc.load_model(uri)
    served, encoding = model.predict(trained.given), trained.encoding
    stored = model.unwrap_python_model()  # has the module that mlflow.pytorch would load again
    rows = torch.from_numpy(encoding.encode(trained.example)).to(stored.dtype)
    with torch.no_grad():
        expected, found = trained.module(rows), stored.module(rows)
    scale = max(1e-300, float(expected.abs().max()))
    agrees = not (found - expected).abs().max() > tolerance * scale
    if encoding.classes:
        served, found = served[[*encoding.predicted[1:]]], found.double().softmax(dim=1)
    if not (agrees and np.array_equal(np.asarray(served), found.numpy())):
        raise RuntimeError(
            f"the stored model {uri} does not predict what the trained one does, as versions of "
            "mlflow or torch other than the locked ones may do. Install those in "
            "requirements.lock, then run the same command again."
        )


def _signature(encoding: Encoding, named: bool, dtype: str) -> ModelSignature:
    """Declare columns of any type: MLflow refuses int64 for `double`, and numbers for `string`."""
    columns = [ColSpec(AnyType(), name if named else None) for name in encoding.columns]
    outputs = [TensorSpec(np.dtype(dtype), (-1, 1))]
    asked = [] if encoding.half_width is None else [ParamSpec("interval", DataType.boolean, False)]
    if encoding.classes:
        name, *probabilities = encoding.predicted
        numbers_out = [ColSpec(DataType.double, each) for each in probabilities]
        outputs = [ColSpec(DataType.string, name), *numbers_out]
    inputs, params = Schema(columns), ParamSchema(asked)
    return ModelSignature(inputs, Schema(outputs), params if asked else None)
