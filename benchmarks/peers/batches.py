"""Shuffled mini-batches, ours and elsewhere: `python -m benchmarks.peers.batches METHOD FOLDER
BATCH`. A line, SGD, mean squared error, one thread of torch; each prints one line of JSON: seconds
of its first epoch, including reading unless the rows are in memory already, and of a later one.

Loaders stop after STEPS steps, and their time is scaled to an epoch.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice, pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.peers.reading import everything, paths, read_only

EPOCHS, STEPS, RATE = 3, 300, 0.01
SHUFFLED = 20_000  # rows in the buffer of datasets
YAML = """
experiment: batches
data: {kind: table, path: FOLDER, target: "y"}
training: {optimizer: sgd, batch_size: BATCH, epochs: 3, dtype: float32}
"""


def reading(folder: Path, batch: int) -> list[float]:
    """Decode every file and do nothing with it."""
    return [timed(lambda: read_only(folder)) for _ in range(EPOCHS)]


def plumbline(folder: Path, batch: int, model: dict | None = None, **more: float) -> list[float]:
    """The configuration above; rows stay in memory after the first epoch."""
    import yaml

    from plumbline.config.loading import validated
    from plumbline.library import read
    from plumbline.training.experiment import train
    from plumbline.training.nets import with_budget

    raw = yaml.safe_load(YAML.replace("FOLDER", str(folder)).replace("BATCH", str(batch)))
    raw |= {"model": model or {"kind": "linear"}, "training": {**raw["training"], **more}}
    config = validated(raw, "batches")
    data = read(config.data, "cpu")
    config = with_budget(config, data.summary.train.rows)
    told = [time.perf_counter()]
    train(config, data, "cpu", lambda epoch, loss, **others: told.append(time.perf_counter()))
    return [after - before for before, after in pairwise(told)]


def plumbline_streamed(folder: Path, batch: int) -> list[float]:
    """The same with memory for an eighth of the rows, which are then read again in every epoch."""
    return plumbline(folder, batch, memory_mb=20)


def plumbline_net(folder: Path, batch: int) -> list[float]:
    """An epoch of a net on rows that do not fit into memory."""
    return plumbline(folder, batch, model={"kind": "mlp", "hidden": [16]}, epochs=1)


def sliced(folder: Path, batch: int) -> list[float]:
    """A hand-written loop over slices of a shuffled tensor in memory."""
    rows = torch.cat(tensors(folder), dim=1)
    take_step = line()

    def epoch() -> None:
        for some in rows[torch.randperm(len(rows))].split(batch):
            take_step(some[:, :-1], some[:, -1:])

    return [timed(epoch) for _ in range(EPOCHS)]


def dataloader(folder: Path, batch: int) -> list[float]:
    """torch's DataLoader over a TensorDataset."""
    from torch.utils.data import DataLoader, TensorDataset

    rows = TensorDataset(*tensors(folder))
    return stepped(DataLoader(rows, batch, shuffle=True), len(rows), batch)


def lightning(folder: Path, batch: int) -> list[float]:
    """Lightning's Trainer over the same DataLoader, its log and checkpoints switched off."""
    import lightning
    from torch.utils.data import DataLoader, TensorDataset

    class Line(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.line = nn.Linear(20, 1)

        def training_step(self, some: list[Tensor], number: int) -> Tensor:
            return nn.functional.mse_loss(self.line(some[0]), some[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=RATE)

    rows = TensorDataset(*tensors(folder))
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    steps = {"max_epochs": 1, "limit_train_batches": STEPS, "accelerator": "cpu"}
    trainer = lightning.Trainer(**steps, **dict.fromkeys(off, False))
    seconds = timed(lambda: trainer.fit(Line(), DataLoader(rows, batch, shuffle=True)))
    return [seconds * len(rows) / min(len(rows), STEPS * batch)]


def datasets(folder: Path, batch: int) -> list[float]:
    """Hugging Face's IterableDataset, shuffled through a buffer: much faster than a Dataset, whose
    shuffled rows are looked up one by one."""
    import datasets

    cache = {"cache_dir": str(folder.with_name("datasets-cache"))}
    files = [*map(str, paths(folder))]
    rows = datasets.load_dataset("parquet", data_files=files, split="train", **cache)
    names = [name for name in rows.column_names if name != "y"]

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        shards = rows.with_format("torch").to_iterable_dataset(num_shards=len(files))
        for some in shards.shuffle(buffer_size=SHUFFLED).iter(batch):
            yield torch.stack([some[name] for name in names], dim=1), some["y"][:, None]

    return stepped(batches(), len(rows), batch)


def sklearn(folder: Path, batch: int) -> list[float]:
    """SGDRegressor.partial_fit on slices of shuffled rows in memory."""
    import numpy as np
    from sklearn.linear_model import SGDRegressor

    x, y = everything(folder)
    model = SGDRegressor(alpha=0.0)

    def epoch() -> None:
        order = np.random.permutation(len(x))
        for some in np.split(order, range(batch, len(x), batch)):
            model.partial_fit(x[some], y[some])

    return [timed(epoch) for _ in range(EPOCHS)]


def tensors(folder: Path) -> list[Tensor]:
    """Features (n, d) and target (n, 1), in memory."""
    x, y = map(torch.from_numpy, everything(folder))
    return [x, y[:, None]]


def line() -> Callable[[Tensor, Tensor], None]:
    """A new model's training step."""
    model, criterion = nn.Linear(20, 1), nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)

    def take_step(x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()

    return take_step


def stepped(batches: Iterable, rows: int, batch: int) -> list[float]:
    """Seconds of an epoch, scaled from its first steps."""
    take_step = line()

    def steps() -> None:
        for x, y in islice(batches, STEPS):
            take_step(x, y)

    return [timed(steps) * rows / min(rows, STEPS * batch)]


def timed(work: Callable[[], object]) -> float:
    """Seconds of a call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    import torch._dynamo

    torch.set_num_threads(1)  # two are slower at this size
    first, *later = globals()[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
    print(json.dumps({"first": first, "epoch": min(later, default=first)}))
