"""A net on the bikes, as other libraries train it: `python -m benchmarks.peers.nets METHOD`.

Each prints one line of JSON: seconds and processor time of its fit alone, on prepared rows. All
have the layers, batches and epochs of benchmarks/nets.py, Adam, and no early stopping.
"""

import json
import sys
import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pandas as pd
from sklearn.preprocessing import scale

from benchmarks.nets import BATCH, BIKES, CATEGORICAL, EPOCHS, EXCLUDED, HIDDEN, RATE, TARGET


def rows() -> tuple[np.ndarray, np.ndarray]:
    """Features, (n, d) float32, numbers standardised and categories as indicators; and the target,
    (n,), standardised."""
    frame = pd.read_csv(BIKES).drop(columns=EXCLUDED)
    features = pd.get_dummies(frame.drop(columns=TARGET), columns=CATEGORICAL, drop_first=True)
    target = scale(frame[TARGET].to_numpy(float))
    return scale(features.to_numpy(float)).astype("f4"), target.astype("f4")


def sklearn() -> dict[str, float]:
    """scikit-learn's MLPRegressor."""
    from sklearn.neural_network import MLPRegressor

    x, y = rows()
    model = MLPRegressor(
        hidden_layer_sizes=HIDDEN,
        batch_size=BATCH,
        max_iter=EPOCHS,
        learning_rate_init=RATE,
        n_iter_no_change=EPOCHS,
    )
    return timed(lambda: model.fit(x, y))


def lightning() -> dict[str, float]:
    """Lightning's Trainer, its log and checkpoints switched off."""
    import lightning
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    class Net(lightning.LightningModule):
        def __init__(self, inputs: int) -> None:
            super().__init__()
            pairs = pairwise([inputs, *HIDDEN])
            hidden = [part for pair in pairs for part in (nn.Linear(*pair), nn.ReLU())]
            self.net = nn.Sequential(*hidden, nn.Linear(HIDDEN[-1], 1))

        def training_step(self, batch: list[torch.Tensor], number: int) -> torch.Tensor:
            x, y = batch
            return nn.functional.mse_loss(self.net(x), y)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=RATE)

    x, y = (torch.from_numpy(part) for part in rows())
    batches = DataLoader(TensorDataset(x, y[:, None]), BATCH, shuffle=True)
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = lightning.Trainer(max_epochs=EPOCHS, accelerator="cpu", **dict.fromkeys(off, False))
    return timed(lambda: trainer.fit(Net(x.shape[1]), batches))


def pytorch_tabular() -> dict[str, float]:
    """pytorch-tabular's CategoryEmbeddingModel, whose fit prepares floats and texts itself."""
    from pytorch_tabular import TabularModel
    from pytorch_tabular.config import DataConfig, OptimizerConfig, TrainerConfig
    from pytorch_tabular.models import CategoryEmbeddingModelConfig

    frame = pd.read_csv(BIKES).drop(columns=EXCLUDED)
    frame[CATEGORICAL] = frame[CATEGORICAL].astype(str).astype(object)
    numbers = [name for name in frame if name not in (*CATEGORICAL, TARGET)]
    frame[numbers] = frame[numbers].astype(float)
    off = {"early_stopping": None, "checkpoints": None, "load_best": False}
    model = TabularModel(
        data_config=DataConfig([TARGET], numbers, categorical_cols=CATEGORICAL),
        model_config=CategoryEmbeddingModelConfig(
            "regression", layers="-".join(map(str, HIDDEN)), learning_rate=RATE
        ),
        optimizer_config=OptimizerConfig(),
        trainer_config=TrainerConfig(BATCH, max_epochs=EPOCHS, accelerator="cpu", **off),
        verbose=False,
    )
    return timed(lambda: model.fit(train=frame))


def timed(work: Callable[[], object]) -> dict[str, float]:
    """The wall-clock and processor seconds of a call."""
    began, used = time.perf_counter(), time.process_time()
    work()
    return {"work": time.perf_counter() - began, "processor": time.process_time() - used}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]]()))
