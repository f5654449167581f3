"""Two processes train what one does: two plain processes with gloo, without Ray."""

import multiprocessing
import os
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from plumbline.config.loading import validated
from plumbline.config.schema import Config
from plumbline.errors import InputError
from plumbline.library import read
from plumbline.training.checkpoint import Checkpoint
from plumbline.training.data_parallel import wrapped
from plumbline.training.experiment import train
from plumbline.training.nets import with_budget
from plumbline.training.trained import Trained
from tests.plumbline.tools import Recording, random_rows, recording, write
from tests.plumbline.training.test_checkpoint import Interrupted

PROCESSES = 2
MLP = {"kind": "mlp", "hidden": [16]}
FEW = {"epochs": 3, "learning_rate": 0.01}
# files, their rows, keys of data, the model, keys of training
SAME: dict[str, tuple[int, int, dict, dict, dict]] = {
    "a net on files of its own": (5, 20, {"validation_fraction": 0.2}, MLP, {"batch_size": 16}),
    "nets with weights, clipped": (
        *(4, 20, {"weight": "x2"}, {**MLP, "ensemble": 2}, {"batch_size": 8, "clip_norm": 0.5}),
    ),
    "more processes than files": (1, 60, {}, MLP, {"batch_size": 16}),
    "pools with files of one process": (4, 30, {}, MLP, {"batch_size": 16, "memory_mb": 0.0012}),
    "pools with files of both": (30, 5, {}, MLP, {"batch_size": 16, "memory_mb": 0.005}),
    "all rows at once, which do not fit": (
        *(7, 20, {"weight": "x2"}, {"kind": "linear"}, {"loss": "l1", "memory_mb": 0.0012}),
    ),
    "all rows at once": (3, 20, {"validation_fraction": 0.3}, {"kind": "linear"}, {"loss": "l1"}),
    "lbfgs": (3, 20, {}, {"kind": "linear"}, {"epochs": 2, "loss": "huber", "optimizer": "lbfgs"}),
    "empty parts of batches": (2, 2, {}, MLP, {"batch_size": 1}),
    "fewer rows than processes": (1, 1, {}, {"kind": "linear"}, {"loss": "l1"}),
}  # fmt: skip


def write_files(folder: Path) -> None:
    """The files of every case."""
    (folder / "states").mkdir()
    for name, (files, rows, *_) in SAME.items():
        for number in range(files):
            x1, x2, y = random_rows(rows + number, 2, seed=number).mT.tolist()
            columns = {"x1": x1, "x2": [abs(x) + 0.1 for x in x2], "y": y}
            write(folder / name / f"{number}.csv", columns)


def experiment(path: Path, data: dict, model: dict, training: dict) -> Config:
    table = {"kind": "table", "path": str(path), "target": "y", **data}
    given = {"dtype": "float64", **FEW, **training}
    raw = {"experiment": "e", "data": table, "model": model, "training": given}
    return validated(raw, "c.yaml")


def run(config: Config, **others: Any) -> Trained:
    data = recording(read(config.data, "cpu"))
    Recording.opened.clear()
    return train(with_budget(config, data.summary.train.rows), data, "cpu", **others)


def found(trained: Trained) -> tuple[dict, list[float]]:
    """The curves; the weights and the limits of predictions."""
    weights = torch.cat([each.flatten() for each in trained.module.state_dict().values()])
    return trained.curves, [*weights.tolist(), *(getattr(trained.module, "limits", None) or ())]


def of_case(folder: Path, name: str) -> tuple[dict, list[float]]:
    return found(run(experiment(folder / name, *SAME[name][2:])))


def in_one_of_several(rank: int, folder: Path) -> None:
    """What each process does: train every case, and write down what it found."""
    dist.init_process_group("gloo", f"file://{folder}/group", rank=rank, world_size=PROCESSES)
    answers: dict[str, Any] = {"opened": {}}
    for name in SAME:
        answers[name] = of_case(folder, name)
        answers["opened"][name] = Counter(Recording.opened)
    path, drops = folder / "a net on files of its own", {**MLP, "dropout": 0.1}
    config = experiment(path, {}, drops, {"batch_size": 16})
    answers["dropout"] = found(run(config))
    with pytest.raises(KeyboardInterrupt):
        run(config, checkpoint=Interrupted(folder / "states" / str(rank), 0, left=3))
    answers["again"] = found(run(config, checkpoint=Checkpoint(folder / "states" / "0", 60)))
    late = experiment(path, {}, MLP, {"batch_size": 16, "epochs": 9, "max_minutes": 1e-9})
    answers["late"] = run(late).losses
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps(answers))
    dist.barrier()
    os._exit(0)  # gloo's threads now and then abort a process whose interpreter is taken apart


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, list[dict]]:
    """What one process finds, and each of two."""
    folder = tmp_path_factory.mktemp("data-parallel")
    write_files(folder)
    one = {name: of_case(folder, name) for name in SAME}
    context = multiprocessing.get_context("spawn")
    started = [
        context.Process(target=in_one_of_several, args=(rank, folder)) for rank in range(PROCESSES)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
        process.kill()
    assert [process.exitcode for process in started] == [0, 0]
    files = [folder / f"{rank}.pickle" for rank in range(PROCESSES)]
    return one, [pickle.loads(file.read_bytes()) for file in files]


@pytest.mark.parametrize("name", SAME)
def test_two_processes_find_what_one_does(name: str, answers: tuple[dict, list[dict]]) -> None:
    (curves, weights), several = answers[0][name], answers[1]
    for found_curves, found_weights in (answer[name] for answer in several):
        for kind, values in curves.items():
            assert found_curves[kind] == pytest.approx(values, rel=1e-11, abs=1e-13)
        near = 1e-3 if name == "lbfgs" else 1e-9  # its line search ends where little changes
        assert found_weights == pytest.approx(weights, rel=near, abs=1e-12)
    assert several[0][name] == several[1][name]


@pytest.mark.parametrize(
    ("name", "times"),
    {
        "a net on files of its own": 2,  # once for either share
        "pools with files of both": FEW["epochs"] + 1,  # validation rows are read once
        "all rows at once, which do not fit": FEW["epochs"],
    }.items(),
)
def test_no_file_is_read_by_both(name: str, times: int, answers: tuple[dict, list[dict]]) -> None:
    one, two = (answer["opened"][name] for answer in answers[1])
    assert one + two == {str(number): times for number in range(SAME[name][0])}


def test_draws_are_each_process_s_own_and_go_on_from_the_first_one_s_checkpoint(
    answers: tuple[dict, list[dict]],
) -> None:
    for answer in answers[1]:
        assert answer["again"] == answer["dropout"]


def test_all_stop_when_the_time_is_over(answers: tuple[dict, list[dict]]) -> None:
    assert [len(answer["late"]) for answer in answers[1]] == [1, 1]


def test_batch_norm_is_refused_on_cpus(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    dist.init_process_group("gloo", f"file://{tmp_path}/group", rank=0, world_size=1)
    try:
        with pytest.raises(InputError, match="batch norm needs the statistics of whole batches"):
            wrapped(net, lambda model, rows: model(rows[0]).mean(), "cpu")
    finally:
        dist.destroy_process_group()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_batch_norm_becomes_that_of_all_processes_on_gpus(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)).to("cuda:0")
    torch.cuda.set_device(0)
    dist.init_process_group("nccl", f"file://{tmp_path}/group", rank=0, world_size=1)
    try:
        loss = wrapped(net, lambda model, rows: model(rows[0]).mean(), "cuda:0")
        loss((torch.randn(4, 2, device="cuda:0"),)).backward()
        assert isinstance(net[1], nn.SyncBatchNorm)
    finally:
        dist.destroy_process_group()
