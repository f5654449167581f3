"""What a stored model returns to a user of mlflow.pyfunc."""

from pathlib import Path

import mlflow.pyfunc
import pandas as pd
import pytest
import torch
from mlflow.models import Model
from torch import nn

from plumbline.data.encoding import Encoding
from tasks.tracking.artifact import ModelToLog, save_model


def test_a_frame_of_predictions_has_the_index_of_its_rows(tmp_path: Path) -> None:
    rows = pd.DataFrame({"a": [1.0, 2.0]}, index=[5, 3])
    for folder, encoding, asked in (
        ("interval", Encoding(("a",), {}, half_width=2.5), {"interval": True}),
        ("classes", Encoding(("a",), {}, classes=("no", "yes")), None),
    ):
        module = nn.Linear(1, len(encoding.classes) or 1)
        save_model(str(tmp_path / folder), Model(), ModelToLog(module, encoding, True, rows))
        predicted = mlflow.pyfunc.load_model(str(tmp_path / folder)).predict(rows, asked)
        assert predicted.index.tolist() == [5, 3]
        assert tuple(predicted.columns) == encoding.predicted


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_signature_names_the_precision_of_the_predictions(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    rows = pd.DataFrame({"a": [1.0, 2.0]})
    module = nn.Linear(1, 1, dtype=dtype)
    save_model(str(tmp_path / "m"), Model(), ModelToLog(module, Encoding(("a",), {}), True, rows))
    model = mlflow.pyfunc.load_model(str(tmp_path / "m"))
    (declared,) = model.metadata.get_output_schema().inputs
    assert declared.type == model.predict(rows).dtype == str(dtype).removeprefix("torch.")
