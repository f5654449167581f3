"""A training that goes on from its checkpoint is the one that was never interrupted."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from plumbline.config.schema import Config
from plumbline.errors import InputError
from plumbline.library import read
from plumbline.linear.dataset import Dataset
from plumbline.training.checkpoint import Checkpoint
from plumbline.training.experiment import train
from plumbline.training.nets import with_budget
from plumbline.training.trained import Trained
from tests.plumbline.tools import Recording, random_rows, recording, write
from tests.plumbline.training.test_experiment import prepared

DATA = {"kind": "synthetic", "rows": 300, "weights": [1.0, -2.0, 0.5], "noise": 0.1}
NORM = """
from torch import nn


def build(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 1))
"""
NET = {"kind": "mlp", "hidden": [16], "dropout": 0.1}
TRAININGS = {
    "the tutorial's loop": ({"kind": "linear"}, {"epochs": 20, "momentum": 0.9}),
    "batches of another loss": (
        {"kind": "linear"},
        {"loss": "l1", "batch_size": 32, "optimizer": "adam", "rate_schedule": "plateau"},
    ),
    "lbfgs": ({"kind": "linear"}, {"epochs": 20, "optimizer": "lbfgs", "dtype": "float64"}),
    "a net": (NET, {"patience": 3, "rate_schedule": "cosine", "warmup": 0.1, "clip_norm": 1.0}),
    "nets trained together": ({**NET, "ensemble": 2}, {}),
    "an own module": ({"kind": "python"}, {"batch_size": 64, "optimizer": "rmsprop"}),
}


@dataclass
class Interrupted(Checkpoint):
    """Is interrupted, as by Ctrl-C, just after so many states were written."""

    left: int = 0

    def write(self, parts: dict) -> None:
        super().write(parts)
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def state_of(trained: Trained) -> tuple:
    values = [*trained.module.state_dict().values()]
    limits = getattr(trained.module, "limits", None)
    return trained.curves, trained.best_epoch, trained.message, limits, values


@pytest.mark.parametrize("name", TRAININGS)
def test_it_goes_on_to_the_last_bit(name: str, tmp_path: Path) -> None:
    model, training = TRAININGS[name]
    if model["kind"] == "python":
        (tmp_path / "norm.py").write_text(NORM)
        model = {**model, "file": str(tmp_path / "norm.py")}
    held = {"validation_fraction": 0.2}
    config = Config.model_validate({
        "experiment": "e",
        "data": {**DATA, **held},
        "model": model,
        "training": {"epochs": 6, **training},
    })  # fmt: skip
    goes_on_as_if_never_interrupted(config, prepared(config.data), (5, 11), tmp_path)


def test_rows_that_are_streamed_from_files_go_on_to_the_last_bit(tmp_path: Path) -> None:
    """In the first epoch and in the second, behind the first of several pools."""
    rows = random_rows(600_000, 3, far=0.5).float().numpy()
    for number, some in enumerate(np.split(rows, 6)):
        columns = dict(zip("abcy", some.T, strict=True))
        write(tmp_path / "table" / f"{number}.parquet", columns)
    config = Config.model_validate({
        "experiment": "e",
        "data": {
            "kind": "table",
            "path": str(tmp_path / "table"),
            "target": "y",
            "validation_fraction": 0.1,
        },
        "model": NET,
        "training": {"epochs": 2, "batch_size": 16_384, "memory_mb": 4, "patience": 2},
    })  # fmt: skip
    data = recording(read(config.data, "cpu"))
    goes_on_as_if_never_interrupted(config, data, (20, 30), tmp_path)
    # all for the validation rows; those with none but rows of the second epoch's first four pools
    # are not opened again
    assert Recording.opened.total() == 6 + 4


def goes_on_as_if_never_interrupted(
    config: Config, data: Dataset, interruptions: tuple[int, int], folder: Path
) -> None:
    """Train at once; and interrupted twice, after so many steps from where it began."""
    config = with_budget(config, data.summary.train.rows)
    whole = train(config, data, "cpu")
    file = folder / "training.pt"
    told: list[tuple] = []
    for states in interruptions:  # in mid-epoch where epochs have several steps
        with pytest.raises(KeyboardInterrupt):
            train(config, data, "cpu", checkpoint=Interrupted(file, 0, states))

    def tell(epoch: int, loss: float, **others: float) -> None:
        told.append((epoch, loss))

    Recording.opened.clear()
    again = train(config, data, "cpu", tell, checkpoint=Checkpoint(file, 60))
    assert told == [*enumerate(whole.losses, 1)]
    *kept, values = state_of(again)
    *expected, wanted = state_of(whole)
    assert kept == expected
    assert all(torch.equal(one, other) for one, other in zip(values, wanted, strict=True))


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    config = Config.model_validate({"experiment": "e", "data": DATA, "training": {"epochs": 3}})
    data = prepared(config.data)
    checkpoint = Checkpoint(tmp_path / "training.pt", 0)
    train(config, data, "cpu", checkpoint=checkpoint)
    content = checkpoint.path.read_bytes()
    checkpoint.path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"training\.pt: is no checkpoint .* anew"):
        train(config, data, "cpu", checkpoint=checkpoint)
