"""A user's module trains as in the loop that everybody writes, to the last bit on the CPU."""

import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn, optim
from torch.nn import functional

from plumbline.config.loading import validated
from plumbline.config.schema import Config
from plumbline.data.sources import Synthetic
from plumbline.library import train
from plumbline.training.trained import Trained
from tests.plumbline.tools import random_rows, write

NETS = """
from torch import nn

def build(inputs, outputs, dropout=0.0, norm=False, parts=False):
    first = nn.Linear(inputs, 16)
    return nn.Sequential(
        nn.utils.parametrizations.weight_norm(first) if parts else first,
        nn.BatchNorm1d(16) if norm else nn.Identity(),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(16, outputs),
    )
"""
OPTIONS = [{}, {"dropout": 0.3}, {"norm": True}, {"dropout": 0.3, "norm": True}]
OPTIMIZERS = {
    "sgd": lambda groups: optim.SGD(groups, lr=0.02),
    "momentum": lambda groups: optim.SGD(groups, lr=0.02, momentum=0.9),
    "adam": lambda groups: optim.Adam(groups, lr=0.02),
    "adamw": lambda groups: optim.AdamW(groups, lr=0.02, weight_decay=0.0),
    "rmsprop": lambda groups: optim.RMSprop(groups, lr=0.02),
}


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(NETS)
    return path


def experiment(net: Path, options: dict, optimizer: str, **training: object) -> Config:
    momentum = {"optimizer": "sgd", "momentum": 0.9} if optimizer == "momentum" else {}
    data = {"kind": "synthetic", "rows": 100, "features": 5, "noise": 0.5, "bias": 2.0}
    given = {"optimizer": optimizer, "learning_rate": 0.02, "epochs": 15, "seed": 7, **momentum}
    model = {"kind": "python", "file": str(net), "options": options}
    raw = {"experiment": "e", "data": data, "model": model, "training": {**given, **training}}
    return validated(raw, "c.yaml")


def rows_of(config: Config) -> tuple[Tensor, Tensor]:
    """Features and target as a script would hold them."""
    (block,) = Synthetic(config.data).blocks("synthetic")
    rows = block.rows[1:].mT
    return rows[:, :-1].clone(), rows[:, -1:].clone()


def plain_loop(
    config: Config, x: Tensor, y: Tensor, optimizer: str, options: dict, decay: float = 0.0
) -> tuple[list[float], nn.Module]:
    """The script that somebody would write with the same file: every step's loss, and the net."""
    scope: dict = {}
    exec(NETS, scope)
    dtype = getattr(torch, config.training.dtype)
    torch.manual_seed(config.training.seed)
    model = scope["build"](x.shape[1], 1, **options).to(dtype)
    x, y = x.to(dtype), y.to(dtype)
    groups = [{"params": [*model.parameters()]}]
    if decay:
        groups = [
            {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": decay},
            {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
        ]
    stepper = OPTIMIZERS[optimizer](groups)
    losses = []
    model.train()
    for epoch in range(1, config.training.epochs + 1):
        for chosen in batches(config, len(x), epoch):
            stepper.zero_grad()
            loss = nn.MSELoss()(model(x[chosen]), y[chosen])
            loss.backward()
            stepper.step()
            losses.append(loss.item())
    return losses, model.eval()


def batches(config: Config, rows: int, epoch: int) -> list[Tensor]:
    """The order that the objective documents: of the files, then of the rows in a pool."""
    size, seed = config.training.batch_size, config.training.seed
    if size is None:
        return [torch.arange(rows)]
    random = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    torch.randperm(1, generator=random)
    return list(torch.randperm(rows, generator=random).split(size))


def same_weights(trained: Trained, model: nn.Module) -> bool:
    """Whether every parameter and buffer is the same to the last bit."""
    found, expected = trained.module.net.state_dict(), model.state_dict()
    assert found.keys() == expected.keys()
    return all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_loss_is_the_plain_loops(net, optimizer, options, dtype):
    config = experiment(net, options, optimizer, dtype=dtype)
    found = train(config).trained
    losses, model = plain_loop(config, *rows_of(config), optimizer, options)
    assert found.losses == losses
    assert same_weights(found, model)


@pytest.mark.parametrize("options", [{"norm": True}, {"parts": True}], ids=str)
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_weight_decay_is_for_matrices_of_any_name(net, optimizer, options):
    config = experiment(net, options, optimizer, weight_decay=0.1)
    found = train(config).trained
    losses, model = plain_loop(config, *rows_of(config), optimizer, options, decay=0.1)
    assert found.losses == losses
    assert same_weights(found, model)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_mini_batches_take_the_same_steps(net, optimizer, dtype):
    options = {"dropout": 0.3, "norm": True}
    config = experiment(net, options, optimizer, batch_size=32, dtype=dtype)
    found = train(config).trained
    steps, model = plain_loop(config, *rows_of(config), optimizer, options)
    sizes = [32, 32, 32, 4]
    expected = [
        sum(size * loss for size, loss in zip(sizes, steps[i : i + 4], strict=True)) / 100
        for i in range(0, len(steps), 4)
    ]
    assert found.losses == pytest.approx(expected, rel=1e-14)
    assert same_weights(found, model)


@pytest.mark.parametrize("standardize", [True, False])
def test_a_table_is_read_in_the_files_order(net, tmp_path, standardize):
    rows = random_rows(60, 4, far=3.0)
    columns = {f"x{i}": rows[:, i].tolist() for i in range(4)} | {"y": rows[:, -1].tolist()}
    data = {"kind": "table", "path": str(write(tmp_path / "rows.csv", columns)), "target": "y"}
    given = experiment(net, {}, "adam", standardize=standardize)
    raw = given.model_dump(mode="json", exclude={"data"}, exclude_unset=True)
    config = validated({**raw, "data": data}, "c.yaml")
    x, y = rows[:, :-1], rows[:, -1:]
    x = (x - x.mean(dim=0)) / x.std(dim=0, correction=0) if standardize else x
    losses, _ = plain_loop(config, x, y, "adam", {})
    rounding = 1e-12 if standardize else 0.0  # the mean from R has other last bits than from rows
    assert train(config).trained.losses == pytest.approx(losses, rel=rounding, abs=0.0)


def test_predictions_are_those_of_eval_mode(net):
    options = {"dropout": 0.3, "norm": True}
    config = experiment(net, options, "sgd")
    found = train(config).trained
    x, y = rows_of(config)
    _, model = plain_loop(config, x, y, "sgd", options)
    with torch.no_grad():
        assert torch.equal(found.module(x), model(x))
        assert functional.mse_loss(found.module(x), y).isfinite()


def test_trainings_in_threads_draw_as_each_would_alone(net):
    configs = [experiment(net, {"dropout": 0.5}, "sgd", seed=seed) for seed in range(4)]
    alone = [train(config).trained.losses for config in configs]
    found: dict[int, list[float]] = {}

    def work(number: int) -> None:
        found[number] = train(configs[number]).trained.losses

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(configs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[i] for i in range(len(configs))] == alone


def test_training_leaves_torchs_generator_as_it_was(net):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    train(experiment(net, {"dropout": 0.5}, "sgd"))
    assert torch.equal(torch.get_rng_state(), before)
